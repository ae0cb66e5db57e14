//! The terminals of a machine, from the master's side.

use crate::launch::Launched;
use crate::terminal::PendingKeys;
use repot_model::{BootSpec, TerminalRole};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{Action, Winsize};
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
    /// Whether what is read begins with a byte about it.
    has_status: bool,
    /// Whether its output was stopped, as by `^S`.
    is_stopped: bool,
    /// Whether it has failed.
    is_broken: bool,
}

/// In the first byte of a packet (ioctl_tty(2), `TIOCPKT`; asm-generic/ioctls.h).
const FLUSHED_OUTPUT: u8 = 2;
const STOPPED: u8 = 4;
const STARTED: u8 = 8;

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
            Console::new(master, slave, terminal.role)
        })
        .collect()
}

impl Console {
    fn new(master: OwnedFd, slave: Option<OwnedFd>, role: TerminalRole) -> Self {
        Self {
            has_status: repot_sys::set_packet_mode(master.as_fd()).is_ok(),
            slave,
            master,
            role,
            keys: PendingKeys::default(),
            is_stopped: false,
            is_broken: false,
        }
    }

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
        loop {
            match rustix::io::read(&self.master, &mut *buffer) {
                Ok(length) if length > 0 && !self.has_status => return Some(&buffer[..length]),
                Ok(length) if length > 0 && buffer[0] == 0 => return Some(&buffer[1..length]),
                Ok(length) if length > 0 => self.note(buffer[0]),
                Err(Errno::AGAIN | Errno::INTR) => return None,
                // Nobody has it open, which happens only where this process could not.
                Ok(_) | Err(_) => {
                    self.is_broken = true;
                    return None;
                }
            }
        }
    }

    /// What has happened at the slave. Somebody who throws away what was not read yet, as sysvinit does before each runlevel,
    /// leaves those asleep who waited for room: the kernel wakes them when something is read (`pty_flush_buffer` in
    /// drivers/tty/pty.c), and there is nothing. That would be the end of all output. A stop and a start wake them.
    fn note(&mut self, status: u8) {
        if status & (STOPPED | STARTED) != 0 {
            self.is_stopped = status & STOPPED != 0;
        }
        // A stop that somebody wants lasts, and its end wakes them.
        if status & FLUSHED_OUTPUT != 0
            && !self.is_stopped
            && let Some(slave) = &self.slave
        {
            let _ = rustix::termios::tcflow(slave, Action::OOff);
            let _ = rustix::termios::tcflow(slave, Action::OOn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{Timespec, poll};
    use rustix::termios::QueueSelector;

    fn console() -> (Console, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let other = slave.try_clone().unwrap();
        (
            Console::new(master, Some(slave), TerminalRole::Console),
            other,
        )
    }

    fn is_readable(console: &Console) -> bool {
        let long = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let mut fds = [console.poll(&console.master)];
        poll(&mut fds, Some(&long)).unwrap() == 1
    }

    #[test]
    fn a_flood_outlasts_flushes() {
        let (mut console, slave) = console();
        let writer = slave.try_clone().unwrap();
        // Ends with an error when the master is closed.
        let flood = std::thread::spawn(
            move || {
                while rustix::io::write(&writer, &[b'x'; 8192]).is_ok() {}
            },
        );
        let mut buffer = [0; 16 * 1024];
        for round in 0..2000 {
            rustix::termios::tcflush(&slave, QueueSelector::OFlush).unwrap();
            while console.read(&mut buffer).is_none() {
                assert!(is_readable(&console), "no output after flush {round}");
            }
        }
        drop(console);
        flood.join().unwrap();
    }

    #[test]
    fn a_stopped_terminal_stays_stopped() {
        let (mut console, slave) = console();
        rustix::termios::tcflow(&slave, Action::OOff).unwrap();
        rustix::termios::tcflush(&slave, QueueSelector::OFlush).unwrap();
        assert!(is_readable(&console));
        assert!(console.read(&mut [0; 64]).is_none());
        assert!(console.is_stopped);
        rustix::termios::tcflow(&slave, Action::OOn).unwrap();
        rustix::io::write(&slave, b"x").unwrap();
        assert_eq!(console.read(&mut [0; 64]), Some(&b"x"[..]));
        assert!(!console.is_stopped);
    }
}
