//! mount_setattr(2): flags, propagation and ID mapping of a mount that is held by a descriptor.
#![allow(unsafe_code, reason = "mount_setattr has no wrapper in rustix")]

use crate::error::{Result, last};
use std::os::fd::{AsRawFd, BorrowedFd};

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
