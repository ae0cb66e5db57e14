//! Where an image is before it is complete: `.staging-PID-RANDOM`, with a locked file in it.
//!
//! The lock tells whether its owner lives: a PID could have been reused. Directories are made and collected under
//! the lock of the whole store, so that none is seen before its own lock is held.

use super::{Store, lock};
use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::remove::remove_tree;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::PathBuf;

const PREFIX: &str = ".staging-";
/// Lock of the store: held for moments only.
const STORE_LOCK: &str = ".lock";

/// A directory that becomes an image, or disappears when it is dropped.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    store: &'a Store,
    name: String,
    dir: OwnedFd,
    /// Held until the end.
    _lock: OwnedFd,
    committed: bool,
}

/// What became of a staging directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is the image now.
    New,
    /// The image was there already.
    Exists,
}

/// A name that nobody has.
pub(super) fn fresh_name() -> Result<String> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty()).map_err(
        |errno| Error::store("name", OsStr::new("a new directory").as_ref(), errno.into()),
    )?;
    let pid = rustix::process::getpid().as_raw_nonzero();
    Ok(format!("{PREFIX}{pid}-{:016x}", u64::from_ne_bytes(random)))
}

impl<'a> Staging<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Self> {
        let name = fresh_name()?;
        let path = store.path.join(&name);
        let guard = store_lock(store)?;
        let make = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            rustix::fs::mkdirat(&store.images, &name[..], Mode::RWXU)?;
            let dir = open_dir(store.images.as_fd(), &name)?;
            // Neither the group nor the set-gid bit of the store's directory may be inherited by what is unpacked.
            rustix::fs::fchmod(&dir, Mode::RWXU)?;
            rustix::fs::fchown(
                &dir,
                Some(rustix::process::geteuid()),
                Some(rustix::process::getegid()),
            )?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&dir, lock::FILE, flags, Mode::RUSR | Mode::WUSR)?;
            lock::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
            Ok((dir, file))
        };
        let made = make().map_err(|errno| Error::store("create", &path, errno.into()));
        drop(guard);
        let (dir, file) = match made {
            Ok(made) => made,
            Err(error) => {
                // The error that counts is the first one.
                let _ = remove_tree(store.images.as_fd(), OsStr::new(&name), &store.path);
                return Err(error);
            }
        };
        Ok(Self {
            store,
            name,
            dir,
            _lock: file,
            committed: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.store.path.join(&self.name)
    }

    /// An empty directory in it.
    pub(super) fn make_dir(&self, name: &str) -> Result<OwnedFd> {
        rustix::fs::mkdirat(&self.dir, name, Mode::RWXU)
            .and_then(|()| open_dir(self.dir.as_fd(), name))
            .map_err(|errno| Error::store("create", &self.path().join(name), errno.into()))
    }

    /// Gives it its final name, at once and for good.
    pub(super) fn commit(mut self, id: &ImageId) -> Result<Committed> {
        let images = &self.store.images;
        match rustix::fs::renameat(images, &self.name[..], images, id.as_str()) {
            Ok(()) => self.committed = true,
            // A directory is replaced only if it is empty, and an image never is (rename(2)).
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(Committed::Exists),
            Err(errno) => return Err(Error::store("create", &self.store.dir(id), errno.into())),
        }
        rustix::fs::fsync(images)
            .map_err(|errno| Error::store("sync", &self.store.path, errno.into()))?;
        Ok(Committed::New)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // The lock goes after this; if removing fails, the next import tries again.
            let _ = remove_tree(
                self.store.images.as_fd(),
                OsStr::new(&self.name),
                &self.store.path,
            );
        }
    }
}

impl Store {
    /// Removes what killed commands have left behind, and says how many directories that were. Every import does
    /// this first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn collect(&self) -> Result<usize> {
        let mut collected = 0;
        for name in self.names()? {
            if !name.starts_with(PREFIX) {
                continue;
            }
            // Held while removing: two commands must not remove the same directory.
            let Some(_owned) = self.abandoned(&name)? else {
                continue;
            };
            remove_tree(self.images.as_fd(), OsStr::new(&name), &self.path)?;
            collected += 1;
        }
        Ok(collected)
    }

    /// The lock of a staging directory whose owner is gone; `Some(None)` if it has none any more.
    fn abandoned(&self, name: &str) -> Result<Option<Option<OwnedFd>>> {
        let guard = store_lock(self)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = format!("{name}/{}", lock::FILE);
        let result = match rustix::fs::openat(&self.images, &path[..], flags, Mode::empty()) {
            Ok(file) => match lock::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(Some(file))),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(errno) => Err(errno),
            },
            // Killed while being made, or while being removed.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Some(None)),
            Err(errno) => Err(errno),
        };
        drop(guard);
        result.map_err(|errno| Error::store("lock", &self.path.join(path), errno.into()))
    }
}

fn open_dir(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Takes the lock of the whole store, waiting for it.
fn store_lock(store: &Store) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::openat(&store.images, STORE_LOCK, flags, mode)
        .and_then(|file| {
            lock::flock(file.as_fd(), FlockOperation::LockExclusive)?;
            Ok(file)
        })
        .map_err(|errno| Error::store("lock", &store.path.join(STORE_LOCK), errno.into()))
}
