//! The terminals of a machine, from the master's side.

use crate::launch::Launched;
use crate::terminal::PendingKeys;
use repot_model::{BootSpec, TerminalRole};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, OwnedFd};

/// The size of a terminal that nobody looks at.
const DEFAULT_SIZE: Winsize = Winsize {
    ws_row: 24,
    ws_col: 80,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// A pty of the machine.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) master: OwnedFd,
    /// Held open, since inits close the console on purpose and a master without slaves reports a hang-up.
    pub(super) slave: Option<OwnedFd>,
    pub(super) role: TerminalRole,
    keys: PendingKeys,
    /// Whether it has failed.
    is_broken: bool,
}

/// Takes the terminals of a machine that has just started.
pub(super) fn take(machine: &mut Launched, spec: &BootSpec, size: Option<Winsize>) -> Vec<Console> {
    let masters = std::mem::take(&mut machine.terminals);
    masters
        .into_iter()
        .zip(&spec.terminals)
        .map(|(master, terminal)| {
            let _ = rustix::io::ioctl_fionbio(&master, true);
            let _ = rustix::termios::tcsetwinsize(&master, size.unwrap_or(DEFAULT_SIZE));
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok();
            Console {
                slave,
                master,
                role: terminal.role,
                keys: PendingKeys::default(),
                is_broken: false,
            }
        })
        .collect()
}

impl Console {
    /// For poll(2): what there is to wait for. A broken terminal would make it return at once for ever; `stand_in` takes its
    /// place.
    pub(super) fn poll<'fd>(&'fd self, stand_in: &'fd OwnedFd) -> PollFd<'fd> {
        match self.is_broken {
            true => PollFd::from_borrowed_fd(stand_in.as_fd(), PollFlags::IN),
            false => PollFd::from_borrowed_fd(self.master.as_fd(), self.keys.events()),
        }
    }

    /// Whether it has so many keys to pass on that it should be given no more.
    pub(super) fn is_full(&self) -> bool {
        self.keys.is_full()
    }

    /// Passes keys on, and those that were not taken before.
    pub(super) fn write(&mut self, keys: &[u8]) {
        self.keys.write(&self.master, keys);
    }

    /// Reads output; `None` if there is none.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        match rustix::io::read(&self.master, &mut *buffer) {
            Ok(length) if length > 0 => Some(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Nobody has it open, which happens only where this process could not.
            Ok(_) | Err(_) => {
                self.is_broken = true;
                None
            }
        }
    }
}
