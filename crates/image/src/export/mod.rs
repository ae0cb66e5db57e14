//! From a tree to a file that a container system takes: one file here per format.
//!
//! In: the tree by a descriptor, with every adaptation in it already, and what the format wants to know about it. Out: a file,
//! the same to the byte for the same tree and the same [`ImageMeta`]. A tree is packed once, straight into the file; memory
//! does not grow with it. Temporary names and renaming are the caller's business.

mod compression;
mod config;
mod docker;
mod layer;
mod lxd;
mod oci;
mod outer;
mod tar;

pub use compression::Compression;

use crate::error::Result;
use crate::pack::PackReport;
use crate::progress::Progress;
use repot_model::{Arch, ImageFormat, Signal};
use rustix::fd::BorrowedFd;
use std::collections::BTreeMap;
use std::fs::File;
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
    /// What the image says about it.
    pub meta: &'a ImageMeta,
    /// How it is compressed; formats that are never compressed ignore it.
    pub compression: Compression,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
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
        ImageFormat::OciArchive => oci::write(what, out),
        ImageFormat::DockerArchive => docker::write(what, out),
        ImageFormat::LxdUnified => lxd::write(what, out),
        ImageFormat::Tar => tar::write(what, out),
    }
}
