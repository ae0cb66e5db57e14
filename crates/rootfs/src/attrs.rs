//! All that a file has besides its content: mode, owner, times and extended attributes, which hold file capabilities and ACLs.
//!
//! Read from a handle and given to another, whatever kind of file it is. Extended attributes are reached through the handle's
//! name in procfs, since the calls that take a descriptor refuse one of `O_PATH` (open(2)), and a symlink has no other.

use crate::beneath::proc_name;
use crate::fix::state::Bytes;
use crate::{Error, FileKind, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd};

/// The kernel's limit for a list of names and for a value (xattr(7)).
const XATTR_BYTES: usize = 64 * 1024;

const ACL: &[u8] = b"system.posix_acl_access";

/// What a file has besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attrs {
    pub(crate) kind: FileKind,
    /// Permission bits: `mode & 0o7777`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    /// Sorted by name.
    pub(crate) xattrs: Vec<(Bytes, Bytes)>,
}

/// Whether the time of the last change is given along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// It is that of the original.
    Copied,
    /// It says when the file was written.
    Now,
}

impl Attrs {
    /// Whether they are the same but for the time.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let mtime = self.mtime;
        *self
            == Self {
                mtime,
                ..other.clone()
            }
    }

    /// Of a new file or directory: root's, without extended attributes.
    pub(crate) fn new(kind: FileKind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// Those of what a handle refers to.
    pub(crate) fn of(path: &str, handle: impl AsFd) -> Result<Self> {
        let stat = rustix::fs::fstat(&handle).map_err(|errno| Error::from_errno(path, errno))?;
        Self::with_stat(path, handle, &stat)
    }

    pub(crate) fn with_stat(path: &str, handle: impl AsFd, stat: &Stat) -> Result<Self> {
        Ok(Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (
                stat.st_mtime,
                i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            xattrs: xattrs(path, handle.as_fd())?,
        })
    }

    /// Leaves out the notes that overlayfs keeps in extended attributes (overlayfs.rst): those of a hostile tree could hide or
    /// redirect what lies below a layer.
    pub(crate) fn without_overlay(mut self) -> Self {
        self.xattrs.retain(|(name, _)| {
            !(name.0.starts_with(b"trusted.overlay.") || name.0.starts_with(b"user.overlay."))
        });
        self
    }

    /// Gives them to what a handle refers to, which has to be of the same kind. Returns the extended attributes that could not
    /// be set or taken away: for want of privilege, or because the file system has none.
    pub(crate) fn apply(&self, path: &str, handle: impl AsFd, times: Times) -> Result<Vec<String>> {
        let handle = handle.as_fd();
        let name = proc_name(handle);
        // First, for it clears set-id bits and file capabilities (chown(2)).
        rustix::fs::chownat(
            handle,
            "",
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
            AtFlags::EMPTY_PATH,
        )
        .map_err(Error::write(path, "setting the owner of"))?;
        let mut failed = Vec::new();
        let present = xattrs(path, handle)?;
        let mut note = |xattr: &[u8], result: rustix::io::Result<()>| {
            if result.is_err() {
                failed.push(String::from_utf8_lossy(xattr).into_owned());
            }
        };
        for (xattr, _) in &present {
            if !self.xattrs.iter().any(|(wanted, _)| wanted == xattr) {
                note(&xattr.0, rustix::fs::removexattr(&name, &xattr.0[..]));
            }
        }
        let set = |(xattr, value): &(Bytes, Bytes)| {
            rustix::fs::setxattr(&name, &xattr.0[..], &value.0, XattrFlags::empty())
        };
        for pair in self.xattrs.iter().filter(|pair| pair.0.0 != ACL) {
            if !present.contains(pair) {
                note(&pair.0.0, set(pair));
            }
        }
        if self.kind != FileKind::Symlink {
            rustix::fs::chmod(&name, Mode::from_raw_mode(self.mode))
                .map_err(Error::write(path, "setting the mode of"))?;
        }
        // After the mode, which would put the group's permissions into the ACL's mask (acl(5)).
        if let Some(acl) = self.xattrs.iter().find(|pair| pair.0.0 == ACL) {
            note(ACL, set(acl));
        }
        if times == Times::Copied {
            // Through the name, for AT_EMPTY_PATH came late to this call.
            rustix::fs::utimensat(CWD, &name, &self.timestamps(), AtFlags::empty())
                .map_err(Error::write(path, "setting the time of"))?;
        }
        Ok(failed)
    }

    fn timestamps(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: self.mtime.0,
                tv_nsec: self.mtime.1,
            },
        }
    }
}

/// All extended attributes that this process may see, sorted by name.
fn xattrs(path: &str, handle: BorrowedFd<'_>) -> Result<Vec<(Bytes, Bytes)>> {
    let place = proc_name(handle);
    let failed = |errno| Error::from_errno(path, errno);
    let mut names = vec![0; XATTR_BYTES];
    let length = match rustix::fs::listxattr(&place, &mut names[..]) {
        Ok(length) => length,
        // A file system without any.
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(failed(errno)),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0; XATTR_BYTES];
        match rustix::fs::getxattr(&place, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                value.shrink_to_fit();
                found.push((Bytes(name.to_owned()), Bytes(value)));
            }
            // Gone meanwhile, or listed although it may not be read.
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    found.sort();
    Ok(found)
}
