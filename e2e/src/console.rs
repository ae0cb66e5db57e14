//! Drives a program on a terminal as a person would.
//!
//! [`Console::spawn`] opens a pty, makes it the controlling terminal of a new session and
//! starts a command on it. What the program writes is kept three times: as bytes, as the
//! screen that a person would see (vt100), and as plain text without escape sequences, which
//! is what [`Console::expect`] looks through. Waiting is polling with a limit, never sleep;
//! an error carries the screen and the last bytes, since a lost deadline says nothing alone.

mod answers;
mod session;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use regex::Regex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use answers::{Answers, Plain};
pub use session::Ran;

/// How long typing may take before the program at the other end counts as stuck.
const TYPING_LIMIT: Duration = Duration::from_secs(60);

/// How many bytes of the raw output an error shows.
const TAIL_BYTES: usize = 2048;

/// How often output is read before anything else is looked at.
const AT_ONCE: u32 = 16;

/// How long past a deadline output is still taken in that does not end.
const FLOOD: Duration = Duration::from_secs(10);

/// A program on a terminal of its own. Dropping it kills the program.
pub struct Console {
    master: OwnedFd,
    child: Child,
    pidfd: OwnedFd,
    raw: Vec<u8>,
    plain: Plain,
    screen: vt100::Parser<Answers>,
    /// No slave of the pty is open any more: nothing will come, and poll would spin.
    closed: bool,
    status: Option<ExitStatus>,
    commands_run: usize,
}

/// What to wait for: a text, as it is, or a regular expression.
#[derive(Debug, Clone)]
pub enum Pattern {
    Text(String),
    Regex(Regex),
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Pattern {
        Pattern::Text(text.to_owned())
    }
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Pattern {
        Pattern::Regex(regex)
    }
}

/// Where a pattern was found in what had not been consumed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What came before it since the last match.
    pub before: String,
    /// The match, then the groups of a regular expression; a group that took no part is empty.
    pub groups: Vec<String>,
}

impl Pattern {
    /// The first match, and where it ends.
    fn find(&self, text: &str) -> Option<(Found, usize)> {
        match self {
            Pattern::Text(wanted) => {
                let start = text.find(wanted)?;
                let found = Found {
                    before: text[..start].to_owned(),
                    groups: vec![wanted.clone()],
                };
                Some((found, start + wanted.len()))
            }
            Pattern::Regex(regex) => {
                let captures = regex.captures(text)?;
                let whole = captures.get(0)?;
                let groups = captures
                    .iter()
                    .map(|group| group.map_or("", |part| part.as_str()).to_owned());
                let found = Found {
                    before: text[..whole.start()].to_owned(),
                    groups: groups.collect(),
                };
                Some((found, whole.end()))
            }
        }
    }
}

impl Console {
    /// Starts `command` on a new terminal of 24 rows and 80 columns.
    ///
    /// # Errors
    /// There is no pty to be had, or the program cannot be started.
    pub fn spawn(command: &Command) -> Result<Console> {
        Console::spawn_sized(command, 24, 80)
    }

    /// Starts `command` on a new terminal of that size. Its arguments, directory and set or
    /// removed variables count, its redirections do not. `TERM` is `xterm` unless it is set.
    ///
    /// # Errors
    /// There is no pty to be had, or the program cannot be started.
    pub fn spawn_sized(command: &Command, rows: u16, columns: u16) -> Result<Console> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).context("opening a pty")?;
        unlockpt(&master).context("unlocking the pty")?;
        // By the master, not by its name: /dev/pts may be another instance.
        let slave = ioctl_tiocgptpeer(&master, flags).context("opening the pty's other side")?;
        let status_flags = fcntl_getfl(&master).context("reading the pty's flags")?;
        fcntl_setfl(&master, status_flags | OFlags::NONBLOCK).context("setting the pty's flags")?;
        set_size(&master, rows, columns)?;

        // The new session with its controlling terminal is made by util-linux's setsid:
        // between fork and exec this crate, which forbids unsafe code, can do nothing. The
        // child is no process group leader, so setsid does not fork, and its pid and exit
        // status are those of the program.
        let mut wrapped = Command::new("setsid");
        wrapped
            .args([
                OsStr::new("--ctty"),
                OsStr::new("--"),
                command.get_program(),
            ])
            .args(command.get_args());
        wrapped.env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped.stdin(Stdio::from(
            slave.try_clone().context("duplicating the terminal")?,
        ));
        wrapped.stdout(Stdio::from(
            slave.try_clone().context("duplicating the terminal")?,
        ));
        wrapped.stderr(Stdio::from(slave));
        let child = wrapped
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        // Until it is waited for, the child's pid cannot be anybody else's.
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("reading the child's pid")?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("opening a pidfd")?;

        Ok(Console {
            master,
            child,
            pidfd,
            raw: Vec::new(),
            plain: Plain::default(),
            screen: vt100::Parser::new_with_callbacks(
                rows_of(rows)?,
                rows_of(columns)?,
                0,
                Answers::default(),
            ),
            closed: false,
            status: None,
            commands_run: 0,
        })
    }

    /// Waits until the pattern shows up in what the program wrote since the last match.
    ///
    /// # Errors
    /// It did not within that time, or the program ended without writing it.
    pub fn expect(&mut self, pattern: impl Into<Pattern>, within: Duration) -> Result<Found> {
        let pattern = pattern.into();
        let deadline = Instant::now() + within;
        loop {
            if let Some((found, end)) = pattern.find(self.plain.unread()) {
                self.plain.consume(end);
                return Ok(found);
            }
            let why = match self.wait(deadline, PollFlags::IN)? {
                Event::Moved => continue,
                Event::Ended => "the program ended",
                Event::Deadline => "the time was up",
            };
            let wanted = match &pattern {
                Pattern::Text(text) => format!("{text:?}"),
                Pattern::Regex(regex) => format!("/{regex}/"),
            };
            return Err(self.report(&format!("waited for {wanted} for {within:?}, {why}")));
        }
    }

    /// Waits until the screen as a whole satisfies `test`, and returns it.
    ///
    /// # Errors
    /// It did not within that time, or the program ended before.
    pub fn expect_screen(
        &mut self,
        test: impl Fn(&str) -> bool,
        within: Duration,
    ) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let screen = self.screen();
            if test(&screen) {
                return Ok(screen);
            }
            match self.wait(deadline, PollFlags::IN)? {
                Event::Moved => {}
                Event::Ended => return Err(self.report("waited for a screen, the program ended")),
                Event::Deadline => return Err(self.report("waited for a screen, the time was up")),
            }
        }
    }

    /// Types these bytes.
    ///
    /// # Errors
    /// The terminal takes no more input, or is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let mut rest = bytes.as_ref();
        let deadline = Instant::now() + TYPING_LIMIT;
        while !rest.is_empty() {
            match rustix::io::write(&self.master, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // Read meanwhile: a program that waits for us to read cannot take more.
                Err(Errno::AGAIN) => match self.wait(deadline, PollFlags::IN | PollFlags::OUT)? {
                    Event::Moved => {}
                    Event::Ended => return Err(self.report("typing, but the program ended")),
                    Event::Deadline => return Err(self.report("typing, but nobody reads")),
                },
                Err(errno) => return Err(errno).context("typing"),
            }
        }
        Ok(())
    }

    /// Types a line and the return key, which sends a carriage return.
    ///
    /// # Errors
    /// The terminal takes no more input, or is gone.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(format!("{line}\r"))
    }

    /// Changes the size of the terminal; the program gets SIGWINCH.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.master, rows, columns)?;
        self.screen.set_size(rows_of(rows)?, rows_of(columns)?);
        Ok(())
    }

    /// What a person would see now, of all that has been read so far.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.screen().contents().trim_end().to_owned()
    }

    /// Everything that the program wrote, escape sequences and all.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Everything that the program wrote, as plain text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.plain.all()
    }

    /// The program's process id, the one that it sees outside of any namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program to end; what it wrote before is read.
    ///
    /// # Errors
    /// It has not ended within that time.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.wait(deadline, PollFlags::IN)? {
                Event::Moved => {}
                Event::Ended => return self.status.context("reading the exit status"),
                Event::Deadline => {
                    return Err(self.report(&format!("waited {within:?} for the program to end")));
                }
            }
        }
    }

    /// Kills the program and waits for it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if self.status.is_none() {
            match pidfd_send_signal(&self.pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno).context("killing the program"),
            }
            self.status = Some(
                self.child
                    .wait()
                    .context("waiting for the killed program")?,
            );
        }
        self.status.context("reading the exit status")
    }

    /// Waits for one event and takes in what can be read. [`Event::Ended`] comes only when
    /// the program is gone *and* its last output has been read.
    fn wait(&mut self, deadline: Instant, interest: PollFlags) -> Result<Event> {
        if self.status.is_some() {
            return Ok(if self.read()? {
                Event::Moved
            } else {
                Event::Ended
            });
        }
        let now = Instant::now();
        // Somebody who writes without end always has something to read.
        if now.saturating_duration_since(deadline) > FLOOD {
            return Ok(Event::Deadline);
        }
        let left = deadline.saturating_duration_since(now);
        let timeout = Timespec::try_from(left).context("counting the time left")?;
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        if !self.closed {
            fds.push(PollFd::new(&self.master, interest));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(Event::Deadline),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("waiting for the terminal"),
        }
        let ended = fds[0].revents().contains(PollFlags::IN);
        drop(fds);
        self.read()?;
        if ended {
            self.status = Some(self.child.wait().context("waiting for the program")?);
        }
        Ok(Event::Moved)
    }

    /// Takes in what can be read without waiting, up to a limit: a program may write faster than this reads. Whether there was
    /// anything.
    fn read(&mut self) -> Result<bool> {
        let mut any = false;
        let mut buffer = [0; 16 * 1024];
        for _ in 0..AT_ONCE {
            if self.closed {
                break;
            }
            match rustix::io::read(self.master.as_fd(), &mut buffer) {
                Ok(0) | Err(Errno::IO) => self.closed = true,
                Ok(count) => {
                    any = true;
                    let bytes = &buffer[..count];
                    self.raw.extend_from_slice(bytes);
                    self.plain.feed(bytes);
                    self.screen.process(bytes);
                    let answer = self.screen.callbacks_mut().take();
                    // Nobody waits for an answer that does not fit or comes too late.
                    let _ = rustix::io::write(&self.master, &answer);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno).context("reading the terminal"),
            }
        }
        Ok(any)
    }

    /// An error with everything that one wants to see when a test has failed.
    fn report(&self, what: &str) -> anyhow::Error {
        let start = self.raw.len().saturating_sub(TAIL_BYTES);
        let tail = self.raw[start..]
            .escape_ascii()
            .to_string()
            .replace("\\r\\n", "\\r\\n\n");
        let status = match self.status {
            None => "running".to_owned(),
            Some(status) => match status.signal() {
                Some(signal) => format!("killed by signal {signal}"),
                None => format!("exited with {}", status.code().unwrap_or(-1)),
            },
        };
        anyhow!(
            "{what} ({status})\n--- screen ---\n{}\n--- last {} of {} bytes ---\n{tail}\n---",
            self.screen(),
            self.raw.len() - start,
            self.raw.len(),
        )
    }
}

/// What [`Console::wait`] saw.
enum Event {
    Moved,
    Ended,
    Deadline,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Console")
            .field("pid", &self.pid())
            .field("screen", &self.screen())
            .finish()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Nothing to tell anybody: the test is over or failing already.
        let _ = self.kill();
    }
}

fn set_size(master: &OwnedFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).context("setting the size of the terminal")
}

fn rows_of(count: u16) -> Result<std::num::NonZeroU16> {
    std::num::NonZeroU16::new(count).context("making a terminal without rows or columns")
}

#[cfg(test)]
mod tests;
