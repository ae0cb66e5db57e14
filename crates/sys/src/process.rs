//! Making processes: clone(2) with namespaces and a pidfd, and unshare(2).
#![allow(unsafe_code, reason = "clone and unshare have no safe wrapper")]

use crate::error::{Error, Result, last};
use rustix::fs::{Access, AtFlags, Uid};
use rustix::thread::{CapabilitySet, UnshareFlags};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A set of namespace kinds (namespaces(7)), as `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(i32);

#[allow(missing_docs, reason = "the constants are the namespaces' names")]
impl Namespaces {
    pub const NONE: Self = Self(0);
    pub const USER: Self = Self(libc::CLONE_NEWUSER);
    pub const PID: Self = Self(libc::CLONE_NEWPID);
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);
    pub const IPC: Self = Self(libc::CLONE_NEWIPC);
    pub const NET: Self = Self(libc::CLONE_NEWNET);
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP);

    /// The `CLONE_NEW*` bits.
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which side of [`clone_process`] this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller: the child's PID and a pidfd on it.
    Parent {
        /// As this process' PID namespace numbers it.
        pid: i32,
        /// Refers to the child, close-on-exec.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Makes a child with copies of everything, in new namespaces of the given kinds.
///
/// It behaves like fork(2) with namespaces, and the old clone(2) is enough for that.
///
/// # Errors
/// `EAGAIN`: this process has other threads (checked here: after a fork of a threaded process, locks such as
/// that of malloc may be held by threads that do not exist in the child), or the limit of processes is reached;
/// `EPERM`, `ENOSPC`: namespaces are not permitted, or `user.max_*_namespaces` is used up; `ENOSYS`: the kernel has no
/// `CLONE_PIDFD` (before Linux 5.2).
pub fn clone_process(namespaces: Namespaces) -> Result<Cloned> {
    refuse_threads("clone")?;
    let mut pidfd: libc::c_int = -1;
    let flags = libc::c_long::from(namespaces.0 | libc::CLONE_PIDFD | libc::SIGCHLD);
    let null: libc::c_long = 0;
    // On s390x the stack comes first (clone(2), "C library/kernel differences").
    let (first, second) = if cfg!(target_arch = "s390x") {
        (null, flags)
    } else {
        (flags, null)
    };
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child has its own copy of all memory. There is
    // one thread only, so no lock is held by somebody who does not exist in the child. `pidfd` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, &raw mut pidfd, null, null) };
    cloned("clone", namespaces, pid, pidfd)
}

/// As [`clone_process`], with the child in the cgroup whose directory of a cgroup2 hierarchy is given, from its first
/// moment on (clone(2), `CLONE_INTO_CGROUP`, Linux 5.7). A move by `cgroup.procs` waits for a grace period of the kernel,
/// several milliseconds; this does not.
///
/// # Errors
/// As for [`clone_process`]. `ENOSYS`, `E2BIG`, `EINVAL`: not on this kernel. `EBUSY`: the cgroup hands controllers down.
/// `EOPNOTSUPP`: the cgroup can hold no processes.
pub fn clone_process_into(namespaces: Namespaces, cgroup: BorrowedFd<'_>) -> Result<Cloned> {
    /// `struct clone_args` of linux/sched.h, the version with `cgroup`.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    /// linux/sched.h; the constant of the libc crate is an `int`, which cannot hold it.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    refuse_threads("clone3")?;
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs {
        flags: u64::from((namespaces.0 | libc::CLONE_PIDFD).cast_unsigned()) | CLONE_INTO_CGROUP,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        cgroup: u64::from(cgroup.as_raw_fd().cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: as in `clone_process`. `args` and `pidfd` outlive the call, which gets the size of the one and writes the other.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    cloned("clone3", namespaces, pid, pidfd)
}

/// Calls `clone` in a way that a user namespace that it makes belongs to the user `owner`, not to root.
///
/// What its processes hold of the limits per user (`fs.inotify.max_user_instances`, `user.max_user_namespaces` and their like,
/// pending signals, locked memory) the kernel charges to their own user and to the user who made the namespace, as the
/// parent namespace counts (`inc_ucount` in kernel/ucount.c): made by root, all namespaces of the host share what one user may have.
///
/// Only the effective user ID changes, for the time of `clone` in the caller, and in the child for good. Files are still opened as
/// root by both, and all capabilities are kept. The caller's memory becomes undumpable (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// `EPERM`: the caller is not root, or lacks a capability that it needs to be stronger than `owner` in that namespace:
/// CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_KILL, CAP_SETUID, CAP_SETGID. Nothing was cloned. Else as for `clone`.
pub fn clone_owned_by(owner: u32, clone: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    let failed = |call: &'static str| {
        move |errno| Error {
            call,
            args: owner.to_string(),
            errno,
        }
    };
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::KILL
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID;
    let capabilities = rustix::thread::capabilities(None).map_err(failed("capget"))?;
    if !rustix::process::getuid().is_root() || !capabilities.effective.contains(needed) {
        return Err(failed("setresuid")(rustix::io::Errno::PERM));
    }
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::from_raw(owner), Uid::ROOT)
        .map_err(failed("setresuid"))?;
    // SAFETY: setfsuid touches no memory. Root is the real user, so it may be the one for files.
    unsafe { libc::setfsuid(0) };
    // The change has emptied the effective set. It counts for the cgroup of the child, and where only root may make user
    // namespaces.
    let cloned = rustix::thread::set_capabilities(None, capabilities)
        .map_err(failed("capset"))
        .and_then(|()| clone());
    if !matches!(cloned, Ok(Cloned::Child)) {
        // Whatever was permitted becomes effective again (capabilities(7), "Effect of user ID changes on capabilities").
        let restored = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
        let restored = restored.and_then(|()| rustix::thread::set_capabilities(None, capabilities));
        if let (Err(errno), Ok(Cloned::Parent { pid, pidfd })) = (restored, &cloned) {
            let _ = send_signal(pidfd, *pid, libc::SIGKILL);
            return Err(failed("setresuid")(errno));
        }
    }
    cloned
}

/// What a clone call came to.
fn cloned(
    call: &'static str,
    namespaces: Namespaces,
    pid: libc::c_long,
    pidfd: libc::c_int,
) -> Result<Cloned> {
    match pid {
        0 => Ok(Cloned::Child),
        ..0 => Err(last(call, format!("{:#x}", namespaces.0))),
        _ => {
            let pid = i32::try_from(pid).unwrap_or(i32::MAX);
            if pidfd < 0 {
                // The flag was ignored, as unknown ones are.
                // SAFETY: kill touches no memory of ours.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                // SAFETY: no status is asked for.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                return Err(Error {
                    call,
                    args: "CLONE_PIDFD, which needs Linux 5.2".into(),
                    errno: rustix::io::Errno::NOSYS,
                });
            }
            // SAFETY: the kernel has just made this descriptor for us, nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

fn refuse_threads(call: &'static str) -> Result<()> {
    if thread_count() == 1 {
        return Ok(());
    }
    Err(Error {
        call,
        args: "called from a process with threads".into(),
        errno: rustix::io::Errno::AGAIN,
    })
}

/// Threads of this process, from `/proc/self/stat` (field 20). 1 where that cannot be read.
fn thread_count() -> u32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields
        .split_whitespace()
        .nth(17)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1)
}

/// Moves this process into new namespaces of the given kinds (unshare(2)).
///
/// # Errors
/// As for [`clone_process`].
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    let flags = UnshareFlags::from_bits_retain(namespaces.0.cast_unsigned());
    // SAFETY: the set holds namespaces only, never CLONE_FILES, CLONE_FS or CLONE_VM, so no thread loses anything that
    // safe code relies on.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|errno| Error {
        call: "unshare",
        args: format!("{:#x}", namespaces.0),
        errno,
    })
}

/// Takes over a descriptor that this process was started with, by its number. `None`: no such descriptor is open, or it
/// is one of the three standard ones.
pub fn inherited_fd(number: i32) -> Option<OwnedFd> {
    // SAFETY: F_GETFD changes nothing.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and whoever started this process made it over to us; called once per number, early
    // in main, before anything else of ours can have opened it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// Takes a terminal away from whatever session has it as controlling terminal, and leaves it to nobody
/// (ioctl_tty(2), `TIOCSCTTY` with 1, `TIOCNOTTY`). The caller becomes a session leader and ignores SIGHUP from here on.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the initial user namespace, or for a caller that leads a session with a terminal.
pub fn free_terminal(terminal: &OwnedFd) -> Result<()> {
    // A process group leader cannot start a session; whoever calls this was started for it and is none, or is a session
    // leader already.
    let _ = rustix::process::setsid();
    // SAFETY: SIG_IGN is a valid disposition for SIGHUP.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    // SAFETY: the request takes an integer and touches no memory.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 1) } < 0 {
        return Err(last("ioctl", "TIOCSCTTY, 1"));
    }
    // SAFETY: the request takes no argument.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) } < 0 {
        return Err(last("ioctl", "TIOCNOTTY"));
    }
    Ok(())
}

/// Has reads from a pty's master begin with a byte that says what has happened at the slave, 0 if that is output (ioctl_tty(2),
/// `TIOCPKT`).
///
/// # Errors
/// It is no master.
pub fn set_packet_mode(master: BorrowedFd<'_>) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the request reads an int, which outlives the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCPKT, &raw const on) } < 0 {
        return Err(last("ioctl", "TIOCPKT, 1"));
    }
    Ok(())
}

/// Makes a terminal the controlling one of the caller's session, taking it away from whatever session has it (ioctl_tty(2),
/// `TIOCSCTTY` with 1). Nobody is sent a signal for that.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the initial user namespace, or for a caller that leads no session or has a terminal.
pub fn take_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the request takes an integer and touches no memory.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 1) } < 0 {
        return Err(last("ioctl", "TIOCSCTTY, 1"));
    }
    Ok(())
}

/// Sends a signal by number, real-time ones included, to the process that `handle` refers to: a pidfd, or a descriptor of its
/// `/proc/PID` (pidfd_send_signal(2), Linux 5.1).
///
/// Where the kernel does not know the call, the signal goes to `pid` (kill(2)). That is safe for a child that has not been
/// reaped, whose number cannot be given away. For others a `handle` below `/proc` that still has its process is looked
/// for right before; the moment between the two is all that a new process with this number would have.
///
/// # Errors
/// `ESRCH`: the process has ended. `EINVAL`: no such signal.
pub fn send_signal(handle: &OwnedFd, pid: i32, signal: i32) -> Result<()> {
    // SAFETY: the descriptor is open for the time of the call; no siginfo is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done == 0 {
        return Ok(());
    }
    match last("pidfd_send_signal", signal.to_string()) {
        error if error.errno == rustix::io::Errno::NOSYS => {}
        error => return Err(error),
    }
    // A directory in procfs whose process has gone has no entries.
    let gone = rustix::fs::accessat(handle, "stat", Access::EXISTS, AtFlags::empty());
    if gone == Err(rustix::io::Errno::NOENT) || gone == Err(rustix::io::Errno::SRCH) {
        return Err(Error {
            call: "kill",
            args: format!("{pid}, {signal}"),
            errno: rustix::io::Errno::SRCH,
        });
    }
    // SAFETY: kill touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(last("kill", format!("{pid}, {signal}")));
    }
    Ok(())
}
