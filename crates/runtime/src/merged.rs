//! A tree as it looks with a layer over it, to be looked at before anything is started: mounted nowhere.

use crate::error::{At, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// The root of an overlay of two directories that cannot be written to; gone when the descriptor is closed. `over` has to stay
/// as long.
///
/// # Errors
/// The kernel has no overlays, or not for this caller (in a user namespace, from Linux 5.11 on).
pub fn merged_view(base: &Path, over: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).at("opening", path);
    let (over, base) = (open(over)?, open(base)?);
    // By descriptor: colons in paths would separate layers. Without an upper directory nothing can be written.
    let lower = format!(
        "/proc/self/fd/{}:/proc/self/fd/{}",
        over.as_raw_fd(),
        base.as_raw_fd()
    );
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).at("opening an", "overlay")?;
    fsconfig_set_string(context.as_fd(), "lowerdir", lower).at("configuring an", "overlay")?;
    // The marks of deleted files are those of the native runtime's layers.
    fsconfig_set_flag(context.as_fd(), "userxattr").at("configuring an", "overlay")?;
    fsconfig_create(context.as_fd()).at("creating an", "overlay")?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .at("mounting an", "overlay")
}
