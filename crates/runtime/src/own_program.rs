//! repot's own program, kept from the machines that it is executed in.
//!
//! What starts a program in a machine is repot until the kernel has replaced it. A script of the tree with the interpreter
//! `/proc/self/exe` is repot once more, now as a process of the machine: whoever opens its `/proc/PID/exe` there holds the
//! host's file, and may change it if its owner is an ID of the machine's (CVE-2019-5736). So where it is, repot first executes
//! itself anew by way of a read-only mount that is attached nowhere, which nobody can make writable, or of a sealed copy.

use crate::error::{At, Result};
use crate::idmap;
use repot_model::Hinted;
use repot_sys::{Cloned, MountAttr, Namespaces, clone_process, mount_setattr};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, WaitOptions};
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The program that this process runs, whatever is now where it was.
pub(crate) const OWN: &str = "/proc/self/exe";

/// Whose machines could change the program.
#[derive(Debug, Clone, Copy)]
enum Starter {
    /// The host's root: its machines have shifted IDs, unless they have root's and with that the whole host.
    Root,
    /// Root of a machine or container: machines in it have the same IDs.
    NestedRoot,
    /// A user: root of his machines is himself.
    User,
}

impl Starter {
    fn own() -> Self {
        if !rustix::process::geteuid().is_root() {
            Self::User
        } else if idmap::is_initial_namespace() {
            Self::Root
        } else {
            Self::NestedRoot
        }
    }

    /// Whether root of a machine could change a file with this owner and mode. An access control list shows in the bits of the group.
    fn exposes(self, uid: u32, mode: u32) -> bool {
        let is_open = mode & 0o022 != 0;
        match self {
            Self::Root => is_open || uid >= idmap::FIRST,
            Self::NestedRoot => true,
            Self::User => is_open || uid != 0,
        }
    }
}

/// Whether a machine in which this process starts something could change the program.
pub(crate) fn is_exposed() -> bool {
    let is_read_only = rustix::fs::statvfs(OWN)
        .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only {
        return false;
    }
    let is_sealed = File::open(OWN).is_ok_and(|program| {
        rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
    });
    !is_sealed
        && std::fs::metadata(OWN).map_or(true, |found| {
            Starter::own().exposes(found.uid(), found.mode())
        })
}

/// For commands that start a program in a machine: executes this one anew, from its beginning, if a machine could change the file.
///
/// Must be called before the process has threads, or anything that it would miss.
///
/// # Errors
/// It cannot be protected.
pub fn protect() -> std::result::Result<(), Hinted> {
    if !is_exposed() {
        return Ok(());
    }
    let program = to_execute(true)?;
    Err(unprotected(again(&program).exec()))
}

/// What to execute in place of [`OWN`].
pub(crate) fn to_execute(is_exposed: bool) -> std::result::Result<OwnedFd, Hinted> {
    if is_exposed {
        unwritable().map_err(unprotected)
    } else {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(OWN, flags, Mode::empty()).map_err(unprotected)
    }
}

fn unprotected(error: impl std::error::Error) -> Hinted {
    Hinted {
        hint: "install repot as root's, for example in /usr/local/bin: machines cannot change it there".into(),
        source: format!("keeping repot's own program from the machine: {error}").into(),
    }
}

/// This command, from a descriptor of its program, which is close-on-exec.
pub(crate) fn again(program: &OwnedFd) -> Command {
    let mut args = std::env::args_os();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args);
    command
}

/// The program so that nobody can change it.
fn unwritable() -> Result<OwnedFd> {
    mounted()
        .or_else(|_| mounted_by_child())
        .or_else(|_| sealed())
}

/// A read-only mount of the file. It is attached nowhere, and once the descriptor is closed it belongs to no mount namespace, so
/// that mount_setattr(2) refuses it.
fn mounted() -> Result<OwnedFd> {
    repot_sys::detached_mounts()?;
    // The link itself leads to the mount of another namespace, if this process has changed it.
    let path = std::fs::read_link(OWN).at("reading", OWN)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, &path, flags).at("copying the mount of", &path)?;
    let found = rustix::fs::fstat(&mount).at("looking at", &path)?;
    let own = rustix::fs::stat(OWN).at("looking at", OWN)?;
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
        // It was replaced by another version meanwhile.
        return Err(Errno::STALE).at("looking at", path);
    }
    let attr = MountAttr {
        set: MountAttr::RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(mount.as_fd(), attr)?;
    Ok(mount)
}

/// The same by a process that may mount, since it is in namespaces of its own.
fn mounted_by_child() -> Result<OwnedFd> {
    let (ours, theirs) = crate::protocol::socket_pair()?;
    let pid = match clone_process(Namespaces::USER | Namespaces::MOUNT)? {
        Cloned::Child => {
            let sent = mounted().and_then(|mount| send(&theirs, &mount));
            repot_sys::exit_now(u8::from(sent.is_err()))
        }
        Cloned::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let received = crate::launch::receive(&ours, &mut [0]);
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
    });
    let mount = received?.1.pop();
    mount.ok_or(Errno::PERM).at("mounting", OWN)
}

fn send(socket: &OwnedFd, mount: &OwnedFd) -> Result<()> {
    let fds = [mount.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [IoSlice::new(b"m")];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)
        .at("handing over", Path::new(OWN))?;
    Ok(())
}

/// A copy in memory that can be changed no more (memfd_create(2), "File sealing").
fn sealed() -> Result<OwnedFd> {
    // Asked for only where it is known: a setting may forbid memory files that do not say that they are for executing.
    let make = |more| {
        rustix::fs::memfd_create(
            "repot",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more,
        )
    };
    let copy = match make(MemfdFlags::EXEC) {
        Err(Errno::INVAL) => make(MemfdFlags::empty()),
        made => made,
    };
    let mut copy = File::from(copy.at("making", "a memory file")?);
    let mut program = File::open(OWN).at("opening", OWN)?;
    std::io::copy(&mut program, &mut copy).at("copying", OWN)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).at("sealing", "a memory file")?;
    // Executing needs it to be open for writing nowhere, and the descriptor is.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(&path).at("opening", path)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_machine_could_write_is_exposed() {
        for (starter, uid, mode, exposed) in [
            (Starter::Root, 0, 0o755, false),
            (Starter::Root, 1000, 0o755, false),
            (Starter::Root, 0, 0o757, true),
            (Starter::Root, idmap::FIRST + 1000, 0o755, true),
            (Starter::NestedRoot, 0, 0o755, true),
            (Starter::User, 0, 0o755, false),
            (Starter::User, 0, 0o775, true),
            (Starter::User, 1000, 0o755, true),
        ] {
            let found = starter.exposes(uid, mode);
            assert_eq!(found, exposed, "{starter:?}, {uid}, {mode:o}");
        }
    }

    /// Both ways: what can be executed, and is the same program, cannot be opened for writing.
    #[test]
    fn what_is_executed_cannot_be_written() {
        let own = std::fs::read(OWN).unwrap();
        let check = |program: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", program.as_raw_fd());
            assert!(std::fs::read(&path).unwrap() == own);
            let list = Command::new(&path).arg("--list").output().unwrap();
            assert!(list.status.success(), "{list:?}");
            path
        };
        let copy = sealed().unwrap();
        let path = check(&copy);
        let write = File::options().write(true).open(&path);
        assert!(write.is_ok_and(|mut file| std::io::Write::write(&mut file, b"x").is_err()));
        // Without privileges and with threads, as tests have them, there is no mount.
        if let Ok(mount) = mounted() {
            let path = check(&mount);
            // (Opening it for writing is refused by its being executed here.)
            let changed =
                std::fs::set_permissions(&path, std::fs::metadata(OWN).unwrap().permissions());
            assert_eq!(
                changed.unwrap_err().raw_os_error(),
                Some(Errno::ROFS.raw_os_error())
            );
        }
    }
}
