//! Signals: a mask, a descriptor to read them from, and the clean slate that an init expects.
#![allow(
    unsafe_code,
    reason = "signal masks and signalfd have no wrapper in rustix"
)]

use crate::error::{Error, Result, last};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalSet")
    }
}

impl SignalSet {
    /// No signal.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialised by the line above.
        Self(unsafe { set.assume_init() })
    }

    /// These signals, by number. Numbers that are no signals are left out.
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for signal in signals {
            // SAFETY: the set is initialised; an invalid number only gives EINVAL.
            unsafe { libc::sigaddset(&raw mut set.0, *signal) };
        }
        set
    }
}

/// Blocks exactly these signals for this process, so that they can be read from [`signal_fd`].
///
/// # Errors
/// None is documented for valid sets.
pub fn block_signals(set: &SignalSet) -> Result<()> {
    // SAFETY: the set is initialised and outlives the call; the old mask is not asked for.
    let done =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set.0, std::ptr::null_mut()) };
    if done == 0 {
        Ok(())
    } else {
        Err(last("sigprocmask", "SIG_SETMASK"))
    }
}

/// A descriptor from which blocked signals are read (signalfd(2)): non-blocking, close-on-exec.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn signal_fd(set: &SignalSet) -> Result<OwnedFd> {
    // SAFETY: the set is initialised and outlives the call; -1 asks for a new descriptor.
    let fd =
        unsafe { libc::signalfd(-1, &raw const set.0, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(last("signalfd", ""));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes one pending signal's number from a [`signal_fd`]; `None` when there is none.
///
/// # Errors
/// The read failed for another reason than that nothing is pending.
pub fn take_signal(fd: impl AsFd) -> Result<Option<i32>> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut info) {
        // The number is the first member, `ssi_signo`, a u32 (signalfd(2)).
        Ok(length) if length >= 4 => {
            Ok(i32::try_from(u32::from_ne_bytes([info[0], info[1], info[2], info[3]])).ok())
        }
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(errno) => Err(Error {
            call: "read",
            args: "signalfd".into(),
            errno,
        }),
    }
}

/// Gives every signal its default action and blocks none, as an init expects to be started.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition for every signal; KILL, STOP and libc's own give EINVAL, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // An empty mask cannot be refused.
    let _ = block_signals(&SignalSet::empty());
}
