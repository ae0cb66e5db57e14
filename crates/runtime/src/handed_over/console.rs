//! A console that belongs to nobody: a terminal of a devpts of the machine's own, mounted over the file that the engine binds
//! as `/dev/console`. The engine's runtime gives PID 1 no terminal then, so that a getty can have this one.

use super::root::enter_own_mounts;
use crate::error::{At, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A devpts instance and the file over which its terminals are mounted; both are seen in the supervisor's mount namespace only,
/// and end with it.
#[derive(Debug)]
pub(crate) struct OwnConsole {
    terminals: PathBuf,
    file: PathBuf,
}

impl OwnConsole {
    /// Mounts a devpts at `terminals`, whose IDs are those of this user namespace: on the host's, the group `tty` is nobody that
    /// a machine of a user's could give its terminal to (devpts in the kernel's filesystems/devpts.rst).
    ///
    /// # Errors
    /// No such mount is permitted.
    pub(crate) fn prepare(file: &Path, terminals: &Path) -> Result<Self> {
        enter_own_mounts()?;
        std::fs::create_dir_all(terminals).at("creating", terminals)?;
        rustix::mount::mount(
            c"devpts",
            terminals,
            c"devpts",
            MountFlags::NOSUID | MountFlags::NOEXEC,
            Some(c"newinstance,gid=5,mode=620,ptmxmode=666"),
        )
        .at("mounting a devpts at", terminals)?;
        Ok(Self {
            terminals: terminals.to_owned(),
            file: file.to_owned(),
        })
    }

    /// Puts a new terminal in place of the one before; its master.
    ///
    /// # Errors
    /// There is none, or it cannot be mounted.
    pub(crate) fn renew(&self) -> Result<OwnedFd> {
        let ptmx = self.terminals.join("ptmx");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::open(&ptmx, flags, Mode::empty()).at("opening", &ptmx)?;
        rustix::pty::unlockpt(&master).at("unlocking", "a pty")?;
        let name = rustix::pty::ptsname(&master, Vec::new()).at("naming", "a pty")?;
        let number = name.to_string_lossy();
        let number = number.rsplit('/').next().unwrap_or_default();
        unmount(&self.file);
        rustix::mount::mount_bind(self.terminals.join(number), &self.file)
            .at("mounting a terminal at", &self.file)?;
        Ok(master)
    }
}

impl Drop for OwnConsole {
    fn drop(&mut self) {
        unmount(&self.file);
        unmount(&self.terminals);
    }
}

fn unmount(at: &Path) {
    let _ = rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
}
