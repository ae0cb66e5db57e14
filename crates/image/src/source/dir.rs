//! A directory that is or holds a root file system: packed on one thread, unpacked into the store on another.
//!
//! The image's id is the SHA-256 of the archive in between, which is deterministic: the same tree is the same image.
//! Running a directory needs no import; this is for keeping its present state.

use super::{Manifest, Opened, Source};
use crate::error::{Error, Result};
use crate::pack::pack_without;
use crate::stream::blocks;
use crate::unpack::{Context, Layout, find_rootfs, unpack};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Directory;

impl Source for Directory {
    fn id(&self) -> &'static str {
        "dir"
    }

    fn probe(&self, opened: &Opened) -> bool {
        opened.directory().is_some()
    }

    fn import(
        &self,
        opened: Opened,
        count: Arc<AtomicU64>,
        root: OwnedFd,
        context: Context<'_>,
    ) -> Result<Manifest> {
        let top = opened.directory().unwrap_or(Path::new("."));
        // Before anything is copied: this may be somebody's home directory.
        let (prefix, from) = open_rootfs(top)?;
        let place = top.join(OsStr::from_bytes(&prefix));
        // If the directory has the store in it, the image must not be copied into itself, without end.
        let store = rustix::fs::stat(context.place).ok();
        let without = store.map(|stat| (stat.st_dev, stat.st_ino));
        let (filler, blocks) = blocks();
        let mut out = Hashing {
            inner: filler.into_writer(),
            sha256: Sha256::new(),
            count,
        };
        let work = move || {
            let result = pack_without(from.as_fd(), &place, without, &mut out);
            let sha256: [u8; 32] = out.sha256.finalize().into();
            let bytes = out.count.load(Ordering::Relaxed);
            out.inner.finish(result.map(|_| (sha256, bytes)));
        };
        // Not joined: it ends when either side does.
        let spawned = std::thread::Builder::new()
            .name(String::from("pack"))
            .spawn(work);
        let failed = |source| Error::Read {
            source_name: opened.name.clone(),
            source,
        };
        spawned.map_err(failed)?;
        let (report, blocks) = unpack(blocks, root, context)?;
        let Some((sha256, bytes)) = blocks.into_end() else {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        };
        Ok(Manifest {
            sha256,
            bytes,
            compression: None,
            prefix,
            report,
            config: None,
        })
    }
}

/// Whether a directory is itself a root file system.
pub(super) fn is_rootfs(top: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(top, flags, Mode::empty()).is_ok_and(|fd| crate::unpack::is_rootfs(fd.as_fd()))
}

/// The root file system in a directory, and where in it that is.
fn open_rootfs(top: &Path) -> Result<(Vec<u8>, OwnedFd)> {
    let failed = |errno: rustix::io::Errno| Error::Open {
        path: top.to_owned(),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(top, flags, Mode::empty()).map_err(failed)?;
    match find_rootfs(fd.as_fd()).map_err(failed)? {
        Layout::At(prefix) => {
            let found = crate::beneath::open(fd.as_fd(), &prefix, flags).map_err(failed)?;
            Ok((prefix, found))
        }
        Layout::Missing(found) => Err(Error::NoRootfs {
            source_name: top.display().to_string(),
            found,
        }),
    }
}

/// Hashes and counts on the way.
struct Hashing<W> {
    inner: W,
    sha256: Sha256,
    count: Arc<AtomicU64>,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sha256.update(&bytes[..count]);
        let more = u64::try_from(count).unwrap_or(u64::MAX);
        self.count.fetch_add(more, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
