//! Runs a program to its end with a deadline, its output and error kept apart.
//!
//! The pipes are read to their end, not only until the program has gone: a process that it
//! leaves behind must not hold them, or every script that reads its output would hang.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// What a program wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The exit status; 128 + n after signal n, as shells count.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Done {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Display for Done {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "status {}\n--- standard output ---\n{}\n--- standard error ---\n{}\n---",
            self.code,
            self.out(),
            self.err()
        )
    }
}

/// Runs `command` with `input` as its standard input.
///
/// # Errors
/// It cannot be started, or has not ended and closed its output within that time; it is
/// killed then.
pub fn run(command: &mut Command, input: &[u8], within: Duration) -> Result<Done> {
    let deadline = Instant::now() + within;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    for fd in [
        stdin.as_ref().map(AsFd::as_fd),
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ] {
        let fd = fd.context("taking a pipe")?;
        let flags = fcntl_getfl(fd).context("reading a pipe's flags")?;
        fcntl_setfl(fd, flags | OFlags::NONBLOCK).context("setting a pipe's flags")?;
    }
    let mut rest = input;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        if rest.is_empty() {
            stdin = None;
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(timeout).context("counting the time left")?;
        let mut fds = Vec::new();
        fds.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        fds.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let polled = poll(&mut fds, Some(&timeout));
        drop(fds);
        match polled {
            Ok(0) => {
                let ended = child.try_wait().context("waiting for the program")?;
                let _ = child.kill();
                let _ = child.wait();
                let how = match ended {
                    Some(status) => format!("it has ended ({status}), but its output is held open"),
                    None => "it was killed".to_owned(),
                };
                let code = ended.map_or(-1, |status| status.code().unwrap_or(-1));
                let done = Done {
                    code,
                    stdout: out,
                    stderr: err,
                };
                bail!("{command:?} did not end within {within:?}: {how}; {done}");
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("waiting for the program"),
        }
        if let Some(pipe) = &mut stdin {
            match pipe.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Nobody reads any more; what was left unread is no failure of ours.
                Err(_) => rest = &[],
            }
        }
        if take(stdout.as_mut(), &mut out)? {
            stdout = None;
        }
        if take(stderr.as_mut(), &mut err)? {
            stderr = None;
        }
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let status = wait(&mut child, left).with_context(|| format!("waiting for {command:?}"))?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(Done {
        code: code.context("reading the status")?,
        stdout: out,
        stderr: err,
    })
}

/// Takes in what is there; whether that was the end.
fn take(pipe: Option<&mut impl Read>, into: &mut Vec<u8>) -> Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    let mut buffer = [0; 64 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading the program's output"),
        }
    }
}

/// Waits for a child for so long.
///
/// # Errors
/// It has not ended; it is killed then.
pub fn wait(child: &mut std::process::Child, within: Duration) -> Result<std::process::ExitStatus> {
    let pidfd = pidfd(child.id())?;
    let timeout = Timespec::try_from(within).context("counting the time left")?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? == 0 {
        let _ = child.kill();
        let _ = child.wait();
        bail!("it did not end within {within:?} and was killed");
    }
    child.wait().context("reading the exit status")
}

/// A handle on a process; readable when it has ended.
///
/// # Errors
/// There is no such process.
pub fn pidfd(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .context("reading a process id")?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .with_context(|| format!("opening process {pid:?}"))
}

/// Looks again and again until `seen` is true, for states that tell nobody when they change
/// (files of `/proc`, an exit that others wait for). Everything else is waited for by event.
///
/// # Errors
/// It has not become true within that time; the error says what was waited for.
pub fn until(what: &str, within: Duration, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + within;
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while !seen().with_context(|| format!("waiting until {what}"))? {
        if Instant::now() >= deadline {
            bail!("waited {within:?} until {what}");
        }
        match poll(&mut [], Some(&moment)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("waiting a moment"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_error_input_and_status_are_kept_apart() {
        let done = run(&mut shell("cat; echo no >&2; exit 7"), b"yes\n", LIMIT).unwrap();
        assert_eq!(
            (done.code, done.out().as_str(), done.err().as_str()),
            (7, "yes\n", "no\n")
        );
        let done = run(&mut shell("kill -9 $$"), b"", LIMIT).unwrap();
        assert_eq!(done.code, 137);
        let much = vec![b'x'; 1 << 20];
        assert_eq!(run(&mut shell("cat"), &much, LIMIT).unwrap().stdout, much);
    }

    #[test]
    fn a_deadline_ends_it_and_tells_who_holds_the_output() {
        let short = Duration::from_millis(200);
        let error = run(&mut shell("echo begun; exec sleep 60"), b"", short).unwrap_err();
        assert!(error.to_string().contains("begun"), "{error}");
        let error = run(&mut shell("exec sleep 3 2>/dev/null & exit 0"), b"", short).unwrap_err();
        assert!(error.to_string().contains("held open"), "{error}");
    }
}
