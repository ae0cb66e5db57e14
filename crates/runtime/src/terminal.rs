//! The user's terminal: raw mode, window size, the escape to detach; and the loop that joins it to a machine's terminal.

use crate::error::{At, Error, Result};
use crate::protocol::{self, Event, Request};
use crate::screen::Screen;
use crate::start::Connection;
use repot_model::Status;
use repot_sys::SignalSet;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// `^]`, three times within a second, detaches, as in systemd-nspawn.
const DETACH_KEY: u8 = 0x1d;
const DETACH_TIMES: usize = 3;
const DETACH_WITHIN: Duration = Duration::from_secs(1);

/// Reads of 8 KiB that are passed on after the program of a session has ended.
const MAX_READS_AFTER_END: usize = 64;

/// SIGWINCH, SIGTERM, SIGHUP, SIGINT.
const WINCH: i32 = 28;
const ENDING: &[i32] = &[1, 2, 15];

/// The other end of a session.
#[derive(Debug, Clone, Copy)]
pub enum Remote<'a> {
    /// The console, through the supervisor.
    Console(&'a Connection),
    /// A pty of our own in the machine.
    Pty {
        /// Its master.
        master: &'a OwnedFd,
        /// A pidfd: the session ends with this process. A pty without open slaves is no sign of an end, since login
        /// programs close all of theirs for a moment; so one is held open here.
        process: &'a OwnedFd,
    },
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The user typed the escape.
    Detached,
    /// The pty's other side was closed, or the supervisor has gone.
    Closed,
    /// The machine has ended.
    Ended(Status),
    /// A signal told this command to end.
    Signal(i32),
}

/// Raw mode on the user's terminal, undone when dropped.
#[derive(Debug)]
pub struct RawMode {
    before: Option<Termios>,
}

impl RawMode {
    /// Nothing changes where standard input is no terminal.
    pub fn enter() -> Self {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::isatty(stdin)
            .then(|| rustix::termios::tcgetattr(stdin).ok())
            .flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &raw);
        }
        Self { before }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // What was typed for the machine, or answered to it, and not read yet, is not for the shell that comes next.
            let _ =
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Waits so long for a key on standard input. `None`: none came; standard input at its end counts as `^C`.
///
/// # Errors
/// Standard input cannot be read.
pub fn wait_for_key(timeout: Duration) -> Result<Option<u8>> {
    let stdin = rustix::stdio::stdin();
    if !crate::start::readable(stdin, Some(timeout))? {
        return Ok(None);
    }
    let mut key = [0u8];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(stdin, &mut key))
        .at("reading from", "the terminal")?;
    Ok(Some(if length == 0 { 0x03 } else { key[0] }))
}

/// The size of the user's terminal, if there is one.
pub fn window_size() -> Option<Winsize> {
    [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ]
    .iter()
    .find_map(|fd| rustix::termios::tcgetwinsize(fd).ok())
    .filter(|size| size.ws_row > 0 && size.ws_col > 0)
}

/// Counts presses of the escape key.
#[derive(Debug, Default)]
struct Escape {
    presses: Vec<Instant>,
}

impl Escape {
    /// Whether these keys complete the escape.
    fn pressed(&mut self, keys: &[u8], now: Instant) -> bool {
        for key in keys {
            if *key == DETACH_KEY {
                self.presses
                    .retain(|press| now.duration_since(*press) <= DETACH_WITHIN);
                self.presses.push(now);
                if self.presses.len() >= DETACH_TIMES {
                    return true;
                }
            } else {
                self.presses.clear();
            }
        }
        false
    }
}

/// Joins standard input and output to a terminal in the machine until one side ends.
///
/// # Errors
/// Standard output cannot be written, or polling fails.
pub fn session(remote: Remote<'_>) -> Result<SessionEnd> {
    session_after(remote, b"")
}

/// The same, with something to be shown first.
fn session_after(remote: Remote<'_>, backlog: &[u8]) -> Result<SessionEnd> {
    let set = SignalSet::of(&[&[WINCH], ENDING].concat());
    repot_sys::block_signals(&set)?;
    let signals = repot_sys::signal_fd(&set)?;
    let raw = RawMode::enter();
    let mut screen = Screen::of(rustix::stdio::stdout());
    screen.write(backlog)?;
    send_size(remote);
    let slave = match remote {
        Remote::Console(_) => None,
        Remote::Pty { master, .. } => {
            rustix::io::ioctl_fionbio(master, true).at("setting up", "the machine's terminal")?;
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            rustix::pty::ioctl_tiocgptpeer(master, flags).ok()
        }
    };
    let end = exchange(remote, &signals, &mut screen);
    // The screen first: a terminal may answer what resets it.
    drop((screen, raw, slave));
    let _ = repot_sys::block_signals(&SignalSet::empty());
    end
}

fn exchange(remote: Remote<'_>, signals: &OwnedFd, screen: &mut Screen) -> Result<SessionEnd> {
    let (stdin, mut stdin_open) = (rustix::stdio::stdin(), true);
    let mut escape = Escape::default();
    let mut buffer = vec![0u8; 8192];
    let mut keys = PendingKeys::default();
    let mut reads_after_end = 0;
    loop {
        let (remote_fd, process) = match remote {
            Remote::Console(connection) => (connection.socket().as_fd(), None),
            Remote::Pty { master, process } => (master.as_fd(), Some(process)),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(remote_fd, keys.events()),
            poll_in(signals.as_fd()),
        ];
        fds.extend(process.map(|process| poll_in(process.as_fd())));
        let others = fds.len();
        // A closed standard input would make poll return at once, for ever; keys that nobody reads are not piled up.
        if stdin_open && !keys.is_full() {
            fds.push(poll_in(stdin));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
            .at("waiting for", "the terminal")?;
        // That it could be written to is no reason to read, which may wait.
        let is_ready = |at: usize| {
            fds.get(at)
                .is_some_and(|fd: &PollFd<'_>| !(fd.revents() - PollFlags::OUT).is_empty())
        };
        let ready = [is_ready(0), is_ready(1), is_ready(others)];
        let is_over = others > 2 && is_ready(2);
        drop(fds);
        keys.flush(remote);
        if ready[0]
            && let Some(end) = receive(remote, &mut buffer, screen)?
        {
            return Ok(end);
        }
        // Only when what the program has said was passed on; what it left running may go on for ever.
        reads_after_end += usize::from(is_over);
        if is_over && (!ready[0] || reads_after_end > MAX_READS_AFTER_END) {
            return Ok(SessionEnd::Closed);
        }
        if ready[1] {
            while let Some(signal) = repot_sys::take_signal(signals)? {
                match signal {
                    WINCH => send_size(remote),
                    other => return Ok(SessionEnd::Signal(other)),
                }
            }
        }
        if ready[2] {
            match rustix::io::read(stdin, buffer.as_mut_slice()) {
                Ok(0) => {
                    stdin_open = false;
                    // What a user means by the end of a piped input: the end of file, as a terminal has it (^D).
                    // A console goes on without.
                    if matches!(remote, Remote::Pty { .. }) {
                        keys.send(remote, &[4]);
                    }
                }
                Ok(length)
                    if rustix::termios::isatty(stdin)
                        && escape.pressed(&buffer[..length], Instant::now()) =>
                {
                    return Ok(SessionEnd::Detached);
                }
                Ok(length) => keys.send(remote, &buffer[..length]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => stdin_open = false,
            }
        }
    }
}

fn poll_in(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Passes on what came from the machine. `Some`: it was the last.
fn receive(
    remote: Remote<'_>,
    buffer: &mut [u8],
    screen: &mut Screen,
) -> Result<Option<SessionEnd>> {
    match remote {
        Remote::Pty { master, .. } => match rustix::io::read(master, &mut *buffer) {
            // EIO: the last slave was closed (pty(7)).
            Ok(0) | Err(Errno::IO) => return Ok(Some(SessionEnd::Closed)),
            Ok(length) => screen.write(&buffer[..length])?,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).at("reading from", "the machine's terminal"),
        },
        Remote::Console(connection) => match protocol::next_event(connection.socket()) {
            Ok(None) => return Ok(Some(SessionEnd::Closed)),
            Ok(Some(Event::Output(bytes))) => screen.write(&bytes)?,
            Ok(Some(Event::Ended(status))) => return Ok(Some(SessionEnd::Ended(status))),
            Ok(Some(Event::Failed(why))) => return Err(Error::Supervisor(why)),
            Ok(Some(Event::Started | Event::Ready(_) | Event::Rebooting)) => {}
            Err(error) => return Err(error),
        },
    }
    Ok(None)
}

/// Keys that the machine's terminal, or the supervisor, has not taken yet: a program that does not read must not keep its user
/// from detaching. Whoever holds them takes no more in while they are full, so that a paste of any length waits where it comes
/// from.
#[derive(Debug, Default)]
pub(crate) struct PendingKeys(Vec<u8>);

impl PendingKeys {
    const LIMIT: usize = 64 * 1024;

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= Self::LIMIT
    }

    /// What to wait for on the terminal.
    pub(crate) fn events(&self) -> PollFlags {
        if self.0.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    fn send(&mut self, remote: Remote<'_>, keys: &[u8]) {
        match remote {
            Remote::Console(connection) => {
                self.0.extend_from_slice(keys);
                self.offer(connection);
            }
            Remote::Pty { master, .. } => self.write(master, keys),
        }
    }

    fn flush(&mut self, remote: Remote<'_>) {
        self.send(remote, &[]);
    }

    fn offer(&mut self, connection: &Connection) {
        while !self.0.is_empty() {
            let packet = &self.0[..self.0.len().min(protocol::PACKET - 1)];
            match connection.offer(&Request::Input(packet.to_vec())) {
                Ok(true) => drop(self.0.drain(..packet.len())),
                // A failure shows up as the end of the other direction.
                Ok(false) | Err(_) => break,
            }
        }
    }

    /// Writes what there is and these, as far as the terminal takes them.
    pub(crate) fn write(&mut self, master: &OwnedFd, keys: &[u8]) {
        self.0.extend_from_slice(keys);
        while !self.0.is_empty() {
            match rustix::io::write(master, &self.0) {
                Ok(length) => drop(self.0.drain(..length)),
                Err(_) => break,
            }
        }
    }
}

fn send_size(remote: Remote<'_>) {
    let Some(size) = window_size() else { return };
    match remote {
        Remote::Console(connection) => {
            let _ = connection.send(&Request::Size(size));
        }
        Remote::Pty { master, .. } => {
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }
}

/// Shows the console on the user's terminal, beginning with the last lines of `backlog`.
///
/// # Errors
/// The supervisor has gone.
pub fn attach(connection: &Connection, backlog: &[u8]) -> Result<SessionEnd> {
    connection.send(&Request::Attach)?;
    session_after(Remote::Console(connection), backlog)
}

/// Shows the console without typing on it, until the machine ends or a signal comes.
///
/// # Errors
/// The supervisor has gone.
pub fn follow(connection: &Connection) -> Result<SessionEnd> {
    connection.send(&Request::Attach)?;
    let mut buffer = vec![0u8; 8192];
    let mut screen = Screen::of_log(rustix::stdio::stdout());
    loop {
        if let Some(end) = receive(Remote::Console(connection), &mut buffer, &mut screen)? {
            return Ok(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_presses_within_a_second_detach() {
        let now = Instant::now();
        let key = [DETACH_KEY];
        let mut escape = Escape::default();
        assert!(!escape.pressed(&key, now));
        assert!(!escape.pressed(&key, now));
        assert!(escape.pressed(&key, now + DETACH_WITHIN / 2));
        let mut slow = Escape::default();
        assert!(!slow.pressed(&key, now));
        assert!(!slow.pressed(&key, now + DETACH_WITHIN));
        assert!(!slow.pressed(&key, now + DETACH_WITHIN * 3));
        let mut interrupted = Escape::default();
        assert!(!interrupted.pressed(&[DETACH_KEY, b'a', DETACH_KEY, DETACH_KEY], now));
        assert!(Escape::default().pressed(&[DETACH_KEY; 3], now));
    }
}
