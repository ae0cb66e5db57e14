//! The handle that writes into a tree: every change is made in a directory that was opened beneath the root, without a symlink or
//! a mount on the way, and by a name in it that is not followed.
//!
//! What is new is made under another name, gets owner, attributes and mode, is written to disk, and then takes its place by a
//! rename: nobody ever sees half a file. Nothing here is recorded; that is `fix`'s.

use crate::attrs::{Attrs, Times};
use crate::beneath;
use crate::fix::state::{Bytes, State};
use crate::{Error, FileKind, Result, RootRead};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The largest file that is replaced or removed, in bytes: its content has to be kept for the day when that is undone.
pub const KEEP_LIMIT_BYTES: u64 = 64 << 20;

/// Tests only: ends the process as a kill would, between any two steps.
#[cfg(test)]
pub(crate) fn tick() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TICKS: AtomicU32 = AtomicU32::new(0);
    let at = std::env::var("REPOT_TEST_DIE_AT").ok();
    if at.and_then(|at| at.parse().ok()) == Some(TICKS.fetch_add(1, Ordering::Relaxed)) {
        std::process::abort();
    }
}

#[cfg(not(test))]
pub(crate) fn tick() {}

/// A handle on the root directory of an untrusted tree that may be written to.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    read: RootRead,
}

/// A name in an open directory of the tree.
#[derive(Debug)]
pub(crate) struct Spot {
    /// For messages.
    path: String,
    dir: OwnedFd,
    name: Vec<u8>,
}

impl Root {
    /// Opens the directory that holds the tree.
    ///
    /// # Errors
    /// [`Error::Open`] if it cannot be opened or is no directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| Error::Open {
            dir: dir.to_owned(),
            source: errno.into(),
        })?;
        let read = RootRead::from_fd(beneath::dup(&fd)?, dir.to_owned());
        Ok(Self { fd, read })
    }

    /// The same tree for reading.
    pub fn read(&self) -> &RootRead {
        &self.read
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Name, kind and inode number of what is in a directory. An empty path is the root.
    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileKind, u64)>> {
        let shown = String::from_utf8_lossy(path);
        let failed = |errno| Error::from_errno(&shown, errno);
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let dir = open_dir(&self.fd, relative).map_err(failed)?;
        let mut found = Vec::new();
        for name in beneath::list(&shown, &dir)? {
            let stat =
                rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let kind = FileType::from_raw_mode(stat.st_mode).into();
            found.push((name.into_bytes(), kind, stat.st_ino));
        }
        Ok(found)
    }

    /// Device and inode number of the root directory.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| Error::from_errno("/", errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The place of a path of names only: neither empty nor `.` nor `..`.
    pub(crate) fn spot(&self, path: &[u8]) -> Result<Spot> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let mut names: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .collect();
        let is_bad = |name: &&[u8]| *name == b"." || *name == b".." || name.contains(&0);
        if !path.starts_with(b"/") || names.iter().any(is_bad) {
            return Err(Error::BadPath { path: shown });
        }
        let Some(name) = names.pop() else {
            return Err(Error::BadPath { path: shown });
        };
        Ok(Spot {
            dir: open_dir(&self.fd, &names.join(&b'/')).map_err(|errno| match errno {
                // A symlink on the way.
                Errno::LOOP => Error::NotADirectory {
                    path: shown.clone(),
                },
                other => Error::from_errno(&shown, other),
            })?,
            name: name.to_owned(),
            path: shown,
        })
    }

    /// What is under a path now. The content of a file is looked at as `content` says.
    pub(crate) fn observe(&self, path: &[u8], content: Content<'_>) -> Result<State> {
        match self.spot(path) {
            Ok(spot) => spot.observe(content),
            Err(Error::NotFound { .. }) => Ok(State::Absent),
            Err(error) => Err(error),
        }
    }
}

/// What [`Root::observe`] does with the content of a file.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// Not looked at.
    Ignored,
    /// Told apart by its digest.
    Hashed,
    /// That, and copied there.
    Saved(&'a mut File),
}

/// A directory beneath another one, good for reading.
fn open_dir(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let relative = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    for _ in 0..64 {
        match rustix::fs::openat2(root, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => break,
            other => return other,
        }
    }
    // Kernels before 5.6, and filters that do not know the call: a name at a time, none of them followed.
    let mut at = rustix::fs::openat(root, ".", flags, Mode::empty())?;
    let device = rustix::fs::fstat(&at)?.st_dev;
    for name in path.split(|byte| *byte == b'/') {
        if !name.is_empty() {
            at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
        }
        if rustix::fs::fstat(&at)?.st_dev != device {
            return Err(Errno::XDEV);
        }
    }
    Ok(at)
}

impl Spot {
    /// A handle of what is there.
    fn handle(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, &self.name[..], flags, Mode::empty()) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::from_errno(&self.path, errno)),
        }
    }

    pub(crate) fn observe(&self, content: Content<'_>) -> Result<State> {
        let Some(handle) = self.handle()? else {
            return Ok(State::Absent);
        };
        let path = &self.path;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| Error::from_errno(path, errno))?;
        let attrs = Attrs::with_stat(path, &handle, &stat)?;
        Ok(match attrs.kind {
            FileKind::File => State::File {
                attrs,
                sha256: self.digest(&handle, content)?,
                links: stat.st_nlink,
                inode: stat.st_ino,
            },
            FileKind::Directory => State::Directory { attrs },
            FileKind::Symlink => {
                let to = rustix::fs::readlinkat(&handle, "", Vec::new())
                    .map_err(|errno| Error::from_errno(path, errno))?;
                State::Link {
                    attrs,
                    to: Bytes(to.into_bytes()),
                }
            }
            FileKind::Fifo
            | FileKind::Socket
            | FileKind::CharDevice
            | FileKind::BlockDevice
            | FileKind::Unknown => State::Special {
                attrs,
                device: stat.st_rdev,
            },
        })
    }

    fn digest(&self, handle: &OwnedFd, content: Content<'_>) -> Result<Option<String>> {
        let mut save = match content {
            Content::Ignored => return Ok(None),
            Content::Hashed => None,
            Content::Saved(file) => Some(file),
        };
        let io = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        let mut from = beneath::reopen(&self.path, handle)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut size: u64 = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io(error)),
            };
            size += count as u64;
            if size > KEEP_LIMIT_BYTES {
                return Err(Error::TooLarge {
                    path: self.path.clone(),
                    limit: KEEP_LIMIT_BYTES,
                });
            }
            let piece = buffer.get(..count).unwrap_or_default();
            hash.update(piece);
            if let Some(file) = &mut save {
                file.write_all(piece).map_err(io)?;
            }
        }
        Ok(Some(hex(&hash.finalize())))
    }

    /// The names in the directory that is there.
    pub(crate) fn list(&self) -> Result<Vec<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.dir, &self.name[..], flags, Mode::empty())
            .map_err(|errno| Error::from_errno(&self.path, errno))?;
        let names = beneath::list(&self.path, &dir)?;
        Ok(names
            .into_iter()
            .map(std::ffi::CString::into_bytes)
            .collect())
    }

    /// A file of that content takes the place of what is there.
    pub(crate) fn put_file(&self, temp: &str, mut content: impl Read, attrs: &Attrs) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        tick();
        let mut file = rustix::fs::openat(&self.dir, temp, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(self.failed("creating"))?;
        tick();
        let written = std::io::copy(&mut content, &mut file).and_then(|_| file.flush());
        written.map_err(|source| Error::Write {
            path: self.path.clone(),
            doing: "writing",
            source,
        })?;
        tick();
        self.dress(&file, attrs)?;
        rustix::fs::fsync(&file).map_err(self.failed("writing"))?;
        self.settle(temp)
    }

    /// A symlink takes the place of what is there.
    pub(crate) fn put_link(&self, temp: &str, to: &[u8], attrs: &Attrs) -> Result<()> {
        tick();
        rustix::fs::symlinkat(to, &self.dir, temp).map_err(self.failed("creating"))?;
        tick();
        self.dress(&self.open_temp(temp)?, attrs)?;
        self.settle(temp)
    }

    /// An empty directory, where there is nothing.
    pub(crate) fn put_directory(&self, temp: &str, attrs: &Attrs) -> Result<()> {
        tick();
        rustix::fs::mkdirat(&self.dir, temp, Mode::RWXU).map_err(self.failed("creating"))?;
        tick();
        self.dress(&self.open_temp(temp)?, attrs)?;
        self.settle(temp)
    }

    /// A device, FIFO or socket takes the place of what is there.
    pub(crate) fn put_special(&self, temp: &str, device: u64, attrs: &Attrs) -> Result<()> {
        let kind = match attrs.kind {
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::File | FileKind::Directory | FileKind::Symlink | FileKind::Unknown => {
                return Err(Error::NotRegular {
                    path: self.path.clone(),
                    found: attrs.kind,
                });
            }
        };
        tick();
        rustix::fs::mknodat(&self.dir, temp, kind, Mode::RUSR | Mode::WUSR, device)
            .map_err(self.failed("creating"))?;
        tick();
        self.dress(&self.open_temp(temp)?, attrs)?;
        self.settle(temp)
    }

    /// One more name of a file takes the place of what is there.
    pub(crate) fn put_hard_link(&self, temp: &str, of: &Spot) -> Result<()> {
        tick();
        rustix::fs::linkat(&of.dir, &of.name[..], &self.dir, temp, AtFlags::empty())
            .map_err(self.failed("linking"))?;
        self.settle(temp)
    }

    /// Owner, mode and extended attributes of what is there.
    pub(crate) fn put_attrs(&self, attrs: &Attrs) -> Result<()> {
        let handle = self.handle()?.ok_or_else(|| Error::NotFound {
            path: self.path.clone(),
        })?;
        let stat =
            rustix::fs::fstat(&handle).map_err(|errno| Error::from_errno(&self.path, errno))?;
        let found = FileKind::from(FileType::from_raw_mode(stat.st_mode));
        if found != attrs.kind {
            return Err(Error::NotRegular {
                path: self.path.clone(),
                found,
            });
        }
        tick();
        self.dress(&handle, attrs)
    }

    /// What is there goes; a directory only if it is empty.
    pub(crate) fn remove(&self) -> Result<()> {
        tick();
        match rustix::fs::unlinkat(&self.dir, &self.name[..], AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // EPERM is what POSIX asks for with a directory (unlink(2)).
            Err(Errno::ISDIR | Errno::PERM) => {
                rustix::fs::unlinkat(&self.dir, &self.name[..], AtFlags::REMOVEDIR)
                    .map_err(self.failed("removing"))?;
            }
            Err(errno) => return Err(self.failed("removing")(errno)),
        }
        self.sync()
    }

    /// Does something that works under a temporary name, which is not left behind if it fails.
    pub(crate) fn tidily(&self, temp: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        work().inspect_err(|_| {
            // It has failed already, and that is what counts.
            let _ = self.remove_temp(temp);
        })
    }

    /// Takes away what an interrupted step has left.
    pub(crate) fn remove_temp(&self, temp: &str) -> Result<()> {
        Spot {
            path: self.path.clone(),
            dir: beneath::dup(&self.dir)?,
            name: temp.as_bytes().to_owned(),
        }
        .remove()
    }

    fn open_temp(&self, temp: &str) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, temp, flags, Mode::empty()).map_err(self.failed("creating"))
    }

    fn dress(&self, handle: &impl std::os::fd::AsFd, attrs: &Attrs) -> Result<()> {
        let failed = attrs.apply(&self.path, handle, Times::Copied)?;
        match failed.into_iter().next() {
            None => Ok(()),
            Some(name) => Err(Error::Xattr {
                path: self.path.clone(),
                name,
            }),
        }
    }

    /// The temporary name becomes the real one, on disk, too.
    fn settle(&self, temp: &str) -> Result<()> {
        tick();
        rustix::fs::renameat_with(
            &self.dir,
            temp,
            &self.dir,
            &self.name[..],
            RenameFlags::empty(),
        )
        .map_err(self.failed("renaming"))?;
        tick();
        // rename(2) does nothing between two names of one file, so the temporary one may be there still.
        let left = rustix::fs::unlinkat(&self.dir, temp, AtFlags::empty());
        if let Err(errno) = left
            && errno != Errno::NOENT
        {
            return Err(self.failed("renaming")(errno));
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.dir).map_err(self.failed("writing"))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(Errno) -> Error {
        Error::write(&self.path, doing)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
