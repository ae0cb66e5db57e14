//! The tree with its layers and the machine's writes, mounted for an engine in a mount namespace of the supervisor's own.

use crate::error::{At, Result};
use repot_model::{Overlay, RootPlan};
use repot_sys::Namespaces;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A mounted tree; unmounted when dropped. The end of the mount namespace does the same.
#[derive(Debug)]
pub(crate) struct Delivered {
    at: PathBuf,
    is_in_place: bool,
}

impl Delivered {
    /// As [`mount_apart`].
    pub(crate) fn mount(root: &RootPlan, at: &Path) -> Result<Self> {
        // First: what was mounted when something later fails is unmounted.
        let delivered = Self {
            at: at.to_owned(),
            is_in_place: root.overlay == Overlay::InPlace,
        };
        mount_apart(root, at)?;
        Ok(delivered)
    }

    /// As it was mounted: an init may have made it read-only as it shut down. The tree itself is not ours to change so.
    pub(crate) fn make_writable(&self) {
        if !self.is_in_place {
            let _ = rustix::mount::mount_remount(&self.at, MountFlags::empty(), c"");
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}

/// Moves this thread into a mount namespace of its own. What the host mounts and unmounts from here on is seen there; nothing that
/// is mounted there is seen by the host, and all of it ends with the last process that is in there.
///
/// # Errors
/// No such namespace is permitted.
pub(super) fn enter_own_mounts() -> Result<()> {
    repot_sys::unshare(Namespaces::MOUNT)?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).at("separating the mounts of", "/")
}

/// Mounts a tree with its layers and the place for its writes, in a mount namespace of this thread's own.
///
/// # Errors
/// No such namespace, or no such mount, is permitted.
fn mount_apart(root: &RootPlan, at: &Path) -> Result<()> {
    enter_own_mounts()?;
    std::fs::create_dir_all(at).at("creating", at)?;
    mount_tree(root, at)
}

fn mount_tree(root: &RootPlan, at: &Path) -> Result<()> {
    let dir = match &root.overlay {
        Overlay::InPlace => {
            return rustix::mount::mount_bind(&root.base, at).at("binding the tree at", at);
        }
        Overlay::Kept { dir } => dir.as_path(),
        Overlay::Ephemeral => {
            // Below what is mounted over it next, so that both have one place, and end together.
            rustix::mount::mount(
                c"tmpfs",
                at,
                c"tmpfs",
                MountFlags::NOSUID | MountFlags::NODEV,
                Some(c"mode=755"),
            )
            .at("mounting a tmpfs at", at)?;
            at
        }
    };
    // The upper directory lends its mode to the machine's /.
    let held = |path: PathBuf| -> Result<OwnedFd> {
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => open(&path),
            Err(errno) => Err(errno).at("creating", path),
        }
    };
    let (upper, work) = (held(dir.join("upper"))?, held(dir.join("work"))?);
    let lower = root
        .layers
        .iter()
        .rev()
        .chain([&root.base])
        .map(|path| open(path))
        .collect::<Result<Vec<_>>>()?;
    // By descriptor: commas and colons in paths would separate options and layers.
    let named = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.iter().map(named).collect::<Vec<_>>().join(":"),
        named(&upper),
        named(&work)
    );
    // The marks of deleted files and replaced directories are those that the native runtime makes and reads, so that a
    // layer serves both (overlayfs.rst, "User xattr"). Before Linux 5.11 there are no others than the host's own.
    match overlay(at, &format!("{options},userxattr")) {
        Err(Errno::INVAL) => overlay(at, &options),
        other => other,
    }
    .at("mounting the overlay at", at)
}

fn overlay(at: &Path, options: &str) -> std::result::Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(
        c"overlay",
        at,
        c"overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("opening", path)
}

/// Takes away all that is mounted at a place, now or as soon as nobody uses it any more.
fn unmount(at: &Path) {
    // An ephemeral tree has two mounts there; more than that would not be ours.
    for _ in 0..2 {
        if rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_err() {
            break;
        }
    }
}

/// Removes the run-time directory of a machine, but not through a mount: what an engine still holds there is a tree of the
/// user's.
///
/// # Errors
/// Something in it cannot be removed.
pub(crate) fn remove_run_dir(dir: &Path) -> Result<()> {
    let root = dir.join(super::ROOT);
    unmount(&root);
    // EBUSY for a mount point, ENOTEMPTY for anything else that is not an empty directory.
    match rustix::fs::rmdir(&root) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
        Err(errno) => return Err(errno).at("removing", root),
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("removing", dir)
        }
        _ => Ok(()),
    }
}
