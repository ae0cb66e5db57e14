//! The signals by which a user or the host ends a command, for one that has to take something back first.

use crate::error::Result;
use repot_sys::SignalSet;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use std::os::fd::{AsFd, OwnedFd};

/// SIGHUP, SIGINT and SIGTERM.
const ENDING: &[i32] = &[1, 2, 15];

/// Those signals, which end nothing by themselves any more.
#[derive(Debug)]
pub struct Interrupts(OwnedFd);

impl Interrupts {
    /// Catches them, in this thread and those that it starts from now on. Programs that it starts have them blocked as well, until
    /// they call [`hear`].
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn catch() -> Result<Self> {
        let set = SignalSet::of(ENDING);
        repot_sys::block_signals(&set)?;
        Ok(Self(repot_sys::signal_fd(&set)?))
    }

    /// Waits for one.
    pub fn wait(&self) -> i32 {
        loop {
            if let Ok(Some(signal)) = repot_sys::take_signal(&self.0) {
                return signal;
            }
            let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, None);
        }
    }
}

/// Lets signals end this process that its parent has blocked: a mask outlives the start of a program (sigprocmask(2)).
pub fn hear() {
    // An empty set cannot be refused.
    let _ = repot_sys::block_signals(&SignalSet::empty());
}

/// Ends this process as the signal would have done.
pub fn die_of(signal: i32) {
    repot_sys::reset_signals();
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}
