//! Standard input, output and error for a program in a machine when it gets no terminal: the caller's own files, and
//! pipes in place of terminals, pumped by this process.

use crate::error::{At, Result};
use crate::screen::Screen;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The three files.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Makes them descriptors 0, 1 and 2 of this process.
    pub(crate) fn install(&self) -> std::result::Result<(), Errno> {
        rustix::stdio::dup2_stdin(&self.stdin)?;
        rustix::stdio::dup2_stdout(&self.stdout)?;
        rustix::stdio::dup2_stderr(&self.stderr)
    }
}

/// Copies between the caller's terminals and the pipes that stand in for them.
#[derive(Debug, Default)]
pub struct Pump {
    /// The writing side of the program's standard input.
    stdin: Option<OwnedFd>,
    /// The reading sides of its output and error.
    outputs: Vec<(OwnedFd, Screen)>,
}

impl Pump {
    /// Files for a program: the caller's own where they are no terminals, pipes where they are.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> Result<(Self, Stdio)> {
        let mut pump = Self::default();
        let duplicate = |fd: BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(fd, 3).at("duplicating", "a standard file")
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).at("making", "a pipe");
        let stdin = if rustix::termios::isatty(rustix::stdio::stdin()) {
            let (reader, writer) = pipe()?;
            pump.stdin = Some(writer);
            reader
        } else {
            duplicate(rustix::stdio::stdin())?
        };
        let mut output = |file: BorrowedFd<'static>| -> Result<OwnedFd> {
            if !rustix::termios::isatty(file) {
                return duplicate(file);
            }
            let (reader, writer) = pipe()?;
            pump.outputs.push((reader, Screen::of(file)));
            Ok(writer)
        };
        let (stdout, stderr) = (
            output(rustix::stdio::stdout())?,
            output(rustix::stdio::stderr())?,
        );
        Ok((
            pump,
            Stdio {
                stdin,
                stdout,
                stderr,
            },
        ))
    }

    /// Copies until the program has closed its outputs and, where a terminal is its input, has ended. `process` is a pidfd on
    /// it. The caller has dropped its [`Stdio`] by then. What arrives at `signals`, a signalfd, is passed on to it, which has the PID beside it.
    ///
    /// # Errors
    /// Polling fails.
    pub fn run(mut self, process: &OwnedFd, signals: Option<(&OwnedFd, i32)>) -> Result<()> {
        let mut buffer = [0u8; 8192];
        while !self.outputs.is_empty() || self.stdin.is_some() {
            let mut fds: Vec<PollFd<'_>> = self
                .outputs
                .iter()
                .map(|(fd, _)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
                .collect();
            let outputs = self.outputs.len();
            if self.stdin.is_some() {
                fds.push(PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN));
                fds.push(PollFd::from_borrowed_fd(
                    rustix::stdio::stdin(),
                    PollFlags::IN,
                ));
            }
            let with_process = fds.len();
            fds.extend(signals.map(|(fd, _)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
                .at("waiting for", "the program in the machine")?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if let (Some(true), Some((signals, pid))) = (ready.get(with_process), signals) {
                forward(signals, process, pid)?;
            }
            let ready = &ready[..with_process];
            if ready.get(outputs).is_some_and(|has_ended| *has_ended) {
                self.stdin = None;
            } else if ready.get(outputs + 1).is_some_and(|has_input| *has_input) {
                match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                    Ok(length)
                        if length > 0
                            && self.stdin.as_ref().is_some_and(|stdin| {
                                write_all(stdin.as_fd(), &buffer[..length])
                            }) => {}
                    _ => self.stdin = None,
                }
            }
            let mut number = 0;
            self.outputs.retain_mut(|(fd, screen)| {
                let is_ready = ready[number];
                number += 1;
                if !is_ready {
                    return true;
                }
                match rustix::io::read(fd, &mut buffer) {
                    Ok(0) => false,
                    Ok(length) => screen.write(&buffer[..length]).is_ok(),
                    Err(errno) => errno == Errno::INTR,
                }
            });
        }
        Ok(())
    }
}

/// Passes on what a signalfd has, but for SIGCHLD.
pub(crate) fn forward(signals: &OwnedFd, process: &OwnedFd, pid: i32) -> Result<()> {
    while let Some(number) = repot_sys::take_signal(signals)? {
        if number != Signal::CHILD.as_raw() {
            let _ = repot_sys::send_signal(process, pid, number);
        }
    }
    Ok(())
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
