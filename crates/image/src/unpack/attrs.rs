//! Owner, extended attributes, mode and time of what was just created, in that order.
//!
//! chown(2) clears set-id bits and file capabilities, so both come after it; `user.` attributes need write
//! permission, so the mode comes after them; and everything changes times. What only root may set is counted
//! instead of failing: an unprivileged import is useful too.

use super::report::UnpackReport;
use crate::archive::Member;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::{Errno, Result};

/// The attributes of an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attrs {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None`: now.
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attrs {
    /// Of a directory that the archive has no entry for.
    pub(crate) fn of_implicit_directory() -> Self {
        Self {
            mode: 0o755,
            ..Self::default()
        }
    }

    pub(crate) fn take_from(member: &mut Member) -> Self {
        Self {
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            mtime: Some(member.mtime),
            xattrs: std::mem::take(&mut member.xattrs),
        }
    }

    fn timestamps(&self) -> Timestamps {
        let (tv_sec, tv_nsec) = match self.mtime {
            Some((seconds, nanoseconds)) => (seconds, i64::from(nanoseconds)),
            None => (0, UTIME_NOW),
        };
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec { tv_sec, tv_nsec },
        }
    }
}

/// Which call failed, and how.
pub(crate) type Failure = (&'static str, Errno);

/// What this process creates files as, so that calls that would change nothing are left out.
#[derive(Debug)]
pub(crate) struct Creator {
    uid: u32,
    gid: u32,
    umask: u32,
}

impl Creator {
    /// As this thread is now.
    pub(crate) fn new() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: umask(),
        }
    }

    /// The mode to create a file with: the final one, if open(2) can give it.
    pub(crate) fn creation_mode(&self, attrs: &Attrs) -> Mode {
        let bits = if self.created_right(attrs) {
            attrs.mode
        } else {
            0o600
        };
        Mode::from_raw_mode(bits)
    }

    /// Whether a file has its mode from creation on: no bit is masked, none is of the special ones.
    fn created_right(&self, attrs: &Attrs) -> bool {
        attrs.mode & (self.umask | 0o7000) == 0 && attrs.xattrs.is_empty() && self.owns(attrs)
    }

    fn owns(&self, attrs: &Attrs) -> bool {
        attrs.uid == self.uid && attrs.gid == self.gid
    }

    /// Applies everything to a regular file made with [`Self::creation_mode`].
    pub(crate) fn finish_file(
        &self,
        fd: BorrowedFd<'_>,
        attrs: &Attrs,
        report: &mut UnpackReport,
    ) -> std::result::Result<(), Failure> {
        if self.created_right(attrs) {
            return rustix::fs::futimens(fd, &attrs.timestamps())
                .map_err(failed("set the time of"));
        }
        self.finish_fd(fd, attrs, report)
    }

    /// Applies everything to an open file or directory.
    pub(crate) fn finish_fd(
        &self,
        fd: BorrowedFd<'_>,
        attrs: &Attrs,
        report: &mut UnpackReport,
    ) -> std::result::Result<(), Failure> {
        if !self.owns(attrs) {
            let result = rustix::fs::fchown(fd, uid(attrs), gid(attrs));
            count_unowned(result, report).map_err(failed("set the owner of"))?;
        }
        let set = |(name, value): &(Vec<u8>, Vec<u8>), report: &mut UnpackReport| {
            let result = match is_overlay(name) {
                true => Err(Errno::NOTSUP),
                false => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            };
            count_skipped(result, name, report);
        };
        let is_acl = |(name, _): &&(Vec<u8>, Vec<u8>)| name == b"system.posix_acl_access";
        for xattr in attrs.xattrs.iter().filter(|it| !is_acl(it)) {
            set(xattr, report);
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(attrs.mode))
            .map_err(failed("set the mode of"))?;
        // Last: chmod would put the group's permissions into the ACL's mask (acl(5)), which are something else in
        // archives of libarchive.
        for xattr in attrs.xattrs.iter().filter(is_acl) {
            set(xattr, report);
        }
        rustix::fs::futimens(fd, &attrs.timestamps()).map_err(failed("set the time of"))
    }

    /// Applies everything to what cannot be opened: a symlink, a device, a fifo.
    pub(crate) fn finish_at(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        attrs: &Attrs,
        has_mode: bool,
        report: &mut UnpackReport,
    ) -> std::result::Result<(), Failure> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if !self.owns(attrs) {
            let result = rustix::fs::chownat(parent, name, uid(attrs), gid(attrs), nofollow);
            count_unowned(result, report).map_err(failed("set the owner of"))?;
        }
        if !attrs.xattrs.is_empty() {
            // There is no setxattrat(2) before Linux 6.13. The parent's magic link is followed, to the directory
            // that the descriptor is; the last component is not.
            let mut path = format!("/proc/self/fd/{}/", parent.as_fd().as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            for (xattr, value) in &attrs.xattrs {
                let result = match is_overlay(xattr) {
                    true => Err(Errno::NOTSUP),
                    false => {
                        rustix::fs::lsetxattr(&path[..], &xattr[..], value, XattrFlags::empty())
                    }
                };
                count_skipped(result, xattr, report);
            }
        }
        if has_mode {
            // fchmodat(2) follows symlinks, but this is none: it was created a moment ago, where only we write.
            let mode = Mode::from_raw_mode(attrs.mode);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
                .map_err(failed("set the mode of"))?;
        }
        rustix::fs::utimensat(parent, name, &attrs.timestamps(), nofollow)
            .map_err(failed("set the time of"))
    }
}

/// Overlayfs keeps its own notes in these (Documentation/filesystems/overlayfs.rst): a tree that is going to be a
/// lower layer must not bring any, or it could hide or redirect files in ways that nothing here can see.
fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| (call, errno)
}

fn uid(attrs: &Attrs) -> Option<Uid> {
    Some(Uid::from_raw(attrs.uid))
}

fn gid(attrs: &Attrs) -> Option<Gid> {
    Some(Gid::from_raw(attrs.gid))
}

/// EPERM: not root. EINVAL: root of a user namespace that has no such id.
fn count_unowned(result: Result<()>, report: &mut UnpackReport) -> Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL) => {
            report.unowned += 1;
            Ok(())
        }
        result => result,
    }
}

/// Attributes fail for many reasons that have nothing to do with the archive: the file system has none or too
/// little room for them (ext4 says ENOSPC), a security module objects, the attribute is for root only.
fn count_skipped(result: Result<()>, name: &[u8], report: &mut UnpackReport) {
    if result.is_err() {
        report.skip_xattr(name);
    }
}

/// The umask, which only `/proc` tells without changing it; everything masked if it does not.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}
