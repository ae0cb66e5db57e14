//! What the user can type to have a tree written for other container systems.

use super::{NetworkArg, WishArgs};
use crate::{complete, engines};
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Write a tree as a file or directory that other container systems take
///
/// The same tree gives the same bytes. What the container system needs is laid over the tree while it is written; the tree itself
/// stays as it is. OUT appears only once it is complete.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A directory, tarball, image or machine
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// Where it goes: a file or a new directory, as the form has it; - for standard output
    pub(crate) out: PathBuf,
    /// In which form
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) to: FormArg,
    /// For which container system it is adapted: by default the one that takes that form; plain forms are not adapted
    #[arg(long = "for", value_name = "ENGINE", value_parser = engines::parser())]
    pub(crate) engine: Option<String>,
    /// The network that it is to see there
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    pub(crate) network: NetworkArg,
    /// Leave the tree as it is
    #[arg(long, conflicts_with = "engine")]
    pub(crate) no_adapt: bool,
    /// How archives are compressed, where the form leaves a choice
    #[arg(long, value_enum, value_name = "METHOD")]
    pub(crate) compress: Option<CompressArg>,
    /// What it calls itself, in forms that have a name
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) wishes: WishArgs,
}

/// Forms of a tree
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormArg {
    /// A directory with a copy of the tree
    Dir,
    /// A tar archive
    Tar,
    /// A tar archive, compressed with gzip
    #[value(name = "tar.gz")]
    TarGz,
    /// A tar archive, compressed with xz
    #[value(name = "tar.xz")]
    TarXz,
    /// A tar archive, compressed with Zstandard
    #[value(name = "tar.zst")]
    TarZst,
    /// A tar archive, compressed with bzip2
    #[value(name = "tar.bz2")]
    TarBz2,
    /// A squashfs image (needs mksquashfs)
    Squashfs,
    /// A directory: OCI image layout
    Oci,
    /// The same as a tar archive, for podman load, ctr images import, skopeo
    OciArchive,
    /// For docker load
    DockerArchive,
    /// For lxc image import and incus image import, in one file
    Lxd,
    /// The same as a directory with metadata.tar and rootfs.tar
    LxdSplit,
    /// The same with rootfs.squashfs (needs mksquashfs)
    LxdSquashfs,
    /// A directory with meta.tar.xz and rootfs.tar.xz, for lxc-create -t local
    Lxc,
    /// A directory with an archive for machinectl import-tar, and its .nspawn file
    Nspawn,
    /// An App Container image, for rkt
    Aci,
    /// For wsl --install --from-file and wsl --import
    Wsl,
}

/// Ways to compress
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressArg {
    None,
    Bzip2,
    Gzip,
    Xz,
    Zstd,
}
