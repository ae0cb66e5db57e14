//! From a tree to a file that a container system takes: one file here per format.
//!
//! In: the tree by a descriptor, with every adaptation in it already, and what the format wants to know about it. Out: a file,
//! the same to the byte for the same tree and the same [`ImageMeta`]. A tree is packed once, straight into the file; memory
//! does not grow with it. Temporary names and renaming are the caller's business.

mod aci;
mod bundle;
mod compression;
mod config;
mod docker;
mod folder;
mod layer;
mod lxc;
mod lxd;
mod nspawn;
mod oci;
mod outer;
mod place;
mod squashfs;
mod tar;
mod wsl;

pub use compression::Compression;
pub(crate) use config::go_architecture;

use crate::error::{Error, Result};
use crate::pack::{Holes, Layer, PackReport, Tree, write_error};
use crate::progress::Progress;
use lxd::Templates;
use outer::{Folder, Outer};
use repot_model::{Arch, ImageFormat, Signal};
use rustix::fd::BorrowedFd;
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What an image says about the tree in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMeta {
    /// Its name, lower case, with a tag where the format has such: `repot-debian:latest`.
    pub name: String,
    /// What is started: the tree's init with its arguments.
    pub argv: Vec<String>,
    /// Variables for it.
    pub env: Vec<(String, String)>,
    /// The signal that asks it to power off, if there is one.
    pub stop_signal: Option<Signal>,
    /// What its programs were built for.
    pub arch: Arch,
    /// Labels, properties: whatever the format calls them.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970: a fixed time, or `SOURCE_DATE_EPOCH`, so that the same tree gives the same file.
    pub created: u64,
}

/// A tree to be exported.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// Its top directory.
    pub root: BorrowedFd<'a>,
    /// That directory's path, for messages.
    pub place: &'a Path,
    /// What lies over it, lowest first: adaptations, what a machine has written.
    pub over: &'a [Layer<'a>],
    /// What the image says about it.
    pub meta: &'a ImageMeta,
    /// How it is compressed; formats that are never compressed ignore it.
    pub compression: Compression,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
}

impl Export<'_> {
    fn tree(&self) -> Tree<'_> {
        Tree {
            root: self.root,
            place: self.place,
            over: self.over,
            time: self.meta.created,
            holes: Holes::Kept,
        }
    }
}

impl std::fmt::Debug for dyn Progress + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// Writes the tree in that format to `out`, an empty file that can be read back and sought in.
///
/// # Errors
/// [`crate::Error::Store`] if something in the tree cannot be read, [`crate::Error::Write`] if `out` takes no more.
pub fn export(format: ImageFormat, what: &Export<'_>, out: &File) -> Result<PackReport> {
    match format {
        ImageFormat::OciArchive => oci::write(what, Outer::new(out, what.meta.created)),
        ImageFormat::DockerArchive => docker::write(what, out),
        ImageFormat::LxdUnified => lxd::write(what, Templates::None, out),
        ImageFormat::Tar => tar::write(what, out),
    }
}

/// Everything that a tree can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An App Container image.
    Aci,
    /// A directory with a copy of the tree.
    Directory,
    /// What `docker save` writes.
    DockerArchive,
    /// A directory with `meta.tar.xz` and `rootfs.tar.xz`, for LXC's `local` template.
    Lxc,
    /// LXD's and Incus' split image: a directory with `metadata.tar` and `rootfs.tar`.
    LxdSplit,
    /// The same with `rootfs.squashfs`.
    LxdSquashfs,
    /// LXD's and Incus' unified image.
    LxdUnified,
    /// A directory with an archive for `machinectl import-tar` and its settings file.
    Nspawn,
    /// A tar archive of an OCI image layout.
    OciArchive,
    /// The layout as a directory.
    OciLayout,
    /// A squashfs image.
    Squashfs,
    /// A plain tar archive.
    Tar,
    /// A root file system for the Windows Subsystem for Linux.
    Wsl {
        /// Whether WSL is told to start the tree's init, which has to be systemd.
        starts_systemd: bool,
    },
}

impl Format {
    /// Whether it is several files, in a directory.
    pub fn is_directory(self) -> bool {
        match self {
            Self::Directory
            | Self::Lxc
            | Self::LxdSplit
            | Self::LxdSquashfs
            | Self::Nspawn
            | Self::OciLayout => true,
            Self::Aci
            | Self::DockerArchive
            | Self::LxdUnified
            | Self::OciArchive
            | Self::Squashfs
            | Self::Tar
            | Self::Wsl { .. } => false,
        }
    }
}

/// Writes the tree in that format at `out`: under another name beside it, which becomes `out` once all is there. A file that is
/// there is replaced, and so is an empty directory where the format is one.
///
/// # Errors
/// As [`export`]; [`Error::Exists`] if a directory with something in it is there, [`Error::Program`] if the program that makes a
/// squashfs is missing or fails.
pub fn export_at(format: Format, what: &Export<'_>, out: &Path) -> Result<PackReport> {
    let place = place::Place::new(out, format.is_directory())?;
    let report = if format.is_directory() {
        write_directory(format, what, place.path())?
    } else {
        let file = place.file()?;
        write_file(format, what, &file, place.path())?
    };
    place.commit()?;
    Ok(report)
}

/// Writes it to something that need not be a file: a pipe. What has to be sought in goes through a file without a name in `temp`.
///
/// # Errors
/// As [`export_at`]; [`Error::Exists`] for a format that is a directory.
pub fn export_stream(
    format: Format,
    what: &Export<'_>,
    out: &File,
    temp: &Path,
) -> Result<PackReport> {
    match format {
        Format::Tar | Format::LxdUnified | Format::Aci | Format::Wsl { .. } => {
            write_file(format, what, out, temp)
        }
        Format::DockerArchive | Format::OciArchive | Format::Squashfs => {
            let place = place::Place::new(&temp.join("export"), false)?;
            let mut file = place.file()?;
            let report = write_file(format, what, &file, place.path())?;
            // A squashfs was written by somebody else, under the same name.
            let mut copy = || -> io::Result<()> {
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut file, &mut &*out).map(|_| ())
            };
            copy().map_err(write_error)?;
            Ok(report)
        }
        Format::Directory
        | Format::Lxc
        | Format::LxdSplit
        | Format::LxdSquashfs
        | Format::Nspawn
        | Format::OciLayout => Err(Error::Exists { path: "-".into() }),
    }
}

fn write_file(format: Format, what: &Export<'_>, out: &File, place: &Path) -> Result<PackReport> {
    match format {
        Format::Aci => aci::write(what, out),
        Format::DockerArchive => export(ImageFormat::DockerArchive, what, out),
        Format::LxdUnified => lxd::write(what, Templates::Hostname, out),
        Format::OciArchive => export(ImageFormat::OciArchive, what, out),
        Format::Squashfs => squashfs::write(what, place),
        Format::Tar => tar::write(what, out),
        Format::Wsl { starts_systemd } => wsl::write(what, starts_systemd, out),
        Format::Directory
        | Format::Lxc
        | Format::LxdSplit
        | Format::LxdSquashfs
        | Format::Nspawn
        | Format::OciLayout => Ok(PackReport::default()),
    }
}

fn write_directory(format: Format, what: &Export<'_>, into: &Path) -> Result<PackReport> {
    let report = fill(format, what, into)?;
    if format != Format::Directory {
        // Whoever may read one file of it may read all; a tree's directory has a mode of its own.
        let open = Permissions::from_mode(0o755);
        std::fs::set_permissions(into, open).map_err(write_error)?;
    }
    Ok(report)
}

fn fill(format: Format, what: &Export<'_>, into: &Path) -> Result<PackReport> {
    match format {
        Format::Directory => folder::write(what, into),
        Format::Lxc => lxc::write(what, into),
        Format::LxdSplit => {
            let name = format!("metadata.tar{}", what.compression.suffix());
            let metadata = lxd::write_metadata(what, Templates::Hostname)?;
            std::fs::write(into.join(name), metadata).map_err(write_error)?;
            let name = format!("rootfs.tar{}", what.compression.suffix());
            let rootfs = File::create_new(into.join(name)).map_err(write_error)?;
            tar::write(what, rootfs)
        }
        Format::LxdSquashfs => {
            let name = format!("metadata.tar{}", what.compression.suffix());
            let metadata = lxd::write_metadata(what, Templates::Hostname)?;
            std::fs::write(into.join(name), metadata).map_err(write_error)?;
            squashfs::write(what, &into.join("rootfs.squashfs"))
        }
        Format::Nspawn => nspawn::write(what, into),
        Format::OciLayout => oci::write(
            what,
            Folder {
                path: into,
                created: what.meta.created,
            },
        ),
        Format::Aci
        | Format::DockerArchive
        | Format::LxdUnified
        | Format::OciArchive
        | Format::Squashfs
        | Format::Tar
        | Format::Wsl { .. } => Ok(PackReport::default()),
    }
}
