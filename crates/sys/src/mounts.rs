//! Mounts that are held by a descriptor: whether there are such, and mount_setattr(2) for their flags and ID mapping.
#![allow(unsafe_code, reason = "mount_setattr has no wrapper in rustix")]

use crate::error::{Error, Result, last};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

/// What to change on a mount. Fields as in `struct mount_attr` (mount_setattr(2)).
#[derive(Debug, Default, Clone, Copy)]
pub struct MountAttr<'fd> {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// Map the mount's IDs through this user namespace (`MOUNT_ATTR_IDMAP`, Linux 5.12).
    pub idmap: Option<BorrowedFd<'fd>>,
    /// Apply to all mounts below as well (`AT_RECURSIVE`).
    pub recursive: bool,
}

impl MountAttr<'_> {
    /// `MOUNT_ATTR_RDONLY`.
    pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// `MOUNT_ATTR_NOSUID`.
    pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// `MOUNT_ATTR_NODEV`.
    pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    /// `MOUNT_ATTR_NOEXEC`.
    pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
}

/// Whether mounts can be detached from one place and attached at another (open_tree(2), move_mount(2), Linux 5.2). Asked once
/// per process, by calls that can come to nothing.
///
/// # Errors
/// `ENOSYS`: the kernel, or a filter in its place, does not know one of the calls.
pub fn detached_mounts() -> Result<()> {
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        // The empty path does not exist, unless a flag says that it stands for the descriptor.
        let open_tree = rustix::mount::open_tree(CWD, c"", OpenTreeFlags::empty()).err();
        let move_mount =
            rustix::mount::move_mount(CWD, c"", CWD, c"", MoveMountFlags::empty()).err();
        [("open_tree", open_tree), ("move_mount", move_mount)]
            .into_iter()
            .find(|(_, errno)| *errno == Some(Errno::NOSYS))
            .map(|(call, _)| call)
    });
    match *missing {
        None => Ok(()),
        Some(call) => Err(Error {
            call,
            args: "tried without effect".into(),
            errno: Errno::NOSYS,
        }),
    }
}

/// Changes the mount that `mount` refers to (a descriptor from open_tree(2), fsmount(2) or of a mount's root).
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` when the file system cannot be ID-mapped or is already attached elsewhere;
/// `EPERM` without privilege over the file system.
pub fn mount_setattr(mount: BorrowedFd<'_>, attr: MountAttr<'_>) -> Result<()> {
    let idmap_bit = if attr.idmap.is_some() {
        libc::MOUNT_ATTR_IDMAP
    } else {
        0
    };
    let userns_fd = attr
        .idmap
        .map_or(0, |fd| u64::try_from(fd.as_raw_fd()).unwrap_or(0));
    let raw = libc::mount_attr {
        attr_set: attr.set | idmap_bit,
        attr_clr: attr.clear,
        propagation: 0,
        userns_fd,
    };
    let flags = libc::AT_EMPTY_PATH
        | if attr.recursive {
            libc::AT_RECURSIVE
        } else {
            0
        };
    // SAFETY: the path is an empty C string, `raw` is a valid mount_attr of the size given, and both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(last(
            "mount_setattr",
            format!("set={:#x}, clear={:#x}", raw.attr_set, raw.attr_clr),
        ))
    }
}
