//! Locks on images: flock(2) on a file in the image's directory. The kernel drops them when their owner dies.
//!
//! Shared: somebody uses the image. Exclusive: somebody makes or removes it.

use super::Store;
use crate::error::{Error, Result};
use crate::id::ImageId;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Name of the file.
pub(super) const FILE: &str = "lock";

/// Keeps an image from being removed until it is dropped.
#[derive(Debug)]
pub struct ImageLock {
    fd: OwnedFd,
}

impl AsFd for ImageLock {
    /// For a process that is to hold the lock on after this one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ImageLock {
    pub(super) fn shared(store: &Store, id: &ImageId) -> Result<Self> {
        Self::take(store, id, FlockOperation::NonBlockingLockShared)
    }

    pub(super) fn exclusive(store: &Store, id: &ImageId) -> Result<Self> {
        Self::take(store, id, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(store: &Store, id: &ImageId, operation: FlockOperation) -> Result<Self> {
        let name = format!("{id}/{FILE}");
        let failed = |errno: Errno| match errno {
            Errno::NOENT => Error::NoImage(id.short().to_owned()),
            Errno::WOULDBLOCK => Error::InUse(id.short().to_owned()),
            errno => Error::store("lock", &store.path.join(&name), errno.into()),
        };
        let open = || {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&store.images, &name[..], flags, Mode::empty())
        };
        let fd = open().map_err(failed)?;
        flock(fd.as_fd(), operation).map_err(failed)?;
        // It may have been removed between the two calls: then the lock is on a file that nobody else sees.
        let there = open().and_then(rustix::fs::fstat).map_err(failed)?;
        let mine = rustix::fs::fstat(&fd).map_err(failed)?;
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino) {
            return Err(failed(Errno::NOENT));
        }
        Ok(Self { fd })
    }
}

/// flock(2), whatever signals come.
pub(super) fn flock(fd: BorrowedFd<'_>, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(fd, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
