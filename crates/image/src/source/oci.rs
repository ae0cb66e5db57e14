//! An OCI image layout, or what `docker save` writes, as a directory. Archives of them are unpacked first, by [`super::tar`]: in
//! which order their members come is not told, and a layer that comes before the document that names it has to wait somewhere.

use super::{Manifest, Opened, Source};
use crate::error::{Error, Result};
use crate::oci::{self, Kind, Picked};
use crate::unpack::Context;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(super) struct Oci;

impl Source for Oci {
    fn id(&self) -> &'static str {
        "oci"
    }

    fn probe(&self, opened: &Opened) -> bool {
        opened.layout().is_some()
    }

    /// The image's own digest, which needs no layer to be read.
    fn sha256(&self, opened: &Opened) -> Result<Option<[u8; 32]>> {
        with(opened, |dir, kind| {
            Ok(Some(Picked::new(dir, kind, &opened.name)?.sha256()))
        })
    }

    fn import(
        &self,
        opened: Opened,
        count: Arc<AtomicU64>,
        root: OwnedFd,
        context: Context<'_>,
    ) -> Result<Manifest> {
        with(&opened, |dir, kind| {
            let picked = Picked::new(dir, kind, &opened.name)?;
            unpack(picked, root, &count, context)
        })
    }
}

/// Unpacks an image of layers.
pub(crate) fn unpack(
    picked: Picked<'_>,
    root: OwnedFd,
    count: &Arc<AtomicU64>,
    context: Context<'_>,
) -> Result<Manifest> {
    let bytes = picked.bytes();
    let context = Context {
        total_bytes: Some(bytes),
        ..context
    };
    let report = picked.unpack(root, count, context)?;
    Ok(Manifest {
        sha256: picked.sha256(),
        bytes,
        prefix: Vec::new(),
        compression: None,
        report,
        config: Some(picked.into_config()),
    })
}

fn with<T>(opened: &Opened, run: impl FnOnce(BorrowedFd<'_>, Kind) -> Result<T>) -> Result<T> {
    let path = opened.layout().unwrap_or(Path::new("."));
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let dir = open(path).map_err(failed)?;
    match oci::find(dir.as_fd()) {
        Some(kind) => run(dir.as_fd(), kind),
        // It was there a moment ago.
        None => Err(failed(std::io::ErrorKind::NotFound.into())),
    }
}

/// Whether a directory is an image of layers.
pub(super) fn is_layout(path: &Path) -> bool {
    open(path).is_ok_and(|dir| oci::find(dir.as_fd()).is_some())
}

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
