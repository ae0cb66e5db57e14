//! Runs an engine's program to ask it something, with a deadline: a daemon that does not answer must not stop repot.

use crate::{Discovery, Host, Usable};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an engine may think about its own version.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended: nothing else announces that to a process without a signal handler.
const INTERVAL: Duration = Duration::from_millis(5);
/// So much of what it says is read at a time, and so much is kept.
const PIECE: u64 = 64 * 1024;
const LIMIT: usize = 1 << 20;

/// What a program said, if it could be started and ended in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program. `None`: there is no such program.
pub(crate) fn ask(argv: &[&str], env: &[(&str, &str)]) -> Option<Answer> {
    let (program, args) = argv.split_first()?;
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut out = Said::by(child.stdout.take());
    let mut err = Said::by(child.stderr.take());
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        out.hear();
        err.hear();
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(INTERVAL),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let Some(status) = status else {
        return Some(Answer {
            ok: false,
            stdout: String::new(),
            stderr: format!("{program} did not answer within {} s", DEADLINE.as_secs()),
        });
    };
    // What it said is in the pipes; whoever else may have the other ends (a daemon that it started) is not waited for.
    out.hear();
    err.hear();
    Some(Answer {
        ok: status.success(),
        stdout: out.text(),
        stderr: err.text(),
    })
}

/// What comes out of a pipe, never waited for.
struct Said<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

impl<R: Read + AsFd> Said<R> {
    fn by(pipe: Option<R>) -> Self {
        let pipe = pipe.filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok());
        Self {
            pipe,
            bytes: Vec::new(),
        }
    }

    fn hear(&mut self) {
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.take(PIECE).read_to_end(&mut self.bytes);
            self.bytes.truncate(LIMIT);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A program that is found by asking for its version: `words` of the first line are searched for the first that begins with a
/// digit.
pub(crate) fn by_version(argv: &[&str], install: &str) -> Discovery {
    match ask(argv, &[]) {
        None => Discovery {
            version: None,
            state: Usable::Missing {
                hint: install.to_owned(),
            },
        },
        Some(answer) if !answer.ok => Discovery {
            version: None,
            state: Usable::No {
                why: match first_line(&answer.stderr) {
                    "" => format!("`{}` fails and does not say why", argv.join(" ")),
                    why => why.to_owned(),
                },
                hint: format!("`{}` shows more", argv.join(" ")),
            },
        },
        Some(answer) => Discovery {
            version: version_in(&answer.stdout),
            state: Usable::Yes,
        },
    }
}

/// The same for an engine that works for root only, with the reason why.
pub(crate) fn for_root(found: Discovery, host: &Host, why: &str) -> Discovery {
    if host.is_root || found.state != Usable::Yes {
        return found;
    }
    Discovery {
        version: found.version,
        state: Usable::No {
            why: why.to_owned(),
            hint: "run repot as root, or leave --on out: the native runtime works without"
                .to_owned(),
        },
    }
}

/// The first word that begins with a digit, without a comma behind it.
pub(crate) fn version_in(text: &str) -> Option<String> {
    first_line(text)
        .split_whitespace()
        .map(|word| word.trim_matches([',', '(', ')', 'v']))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
}

/// The first line with something in it.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        for (text, version) in [
            ("systemd 252 (252.39-1~deb12u1)\n+PAM", "252"),
            (
                "Docker version 20.10.24+dfsg1, build 297e128",
                "20.10.24+dfsg1",
            ),
            ("podman version 4.3.1\n", "4.3.1"),
            ("5.0.2", "5.0.2"),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(version));
        }
    }

    #[test]
    fn missing_programs_and_failures_are_told_apart() {
        let gone = by_version(&["/nowhere/engine", "--version"], "apt-get install engine");
        assert!(matches!(gone.state, Usable::Missing { .. }));
        let mute = by_version(&["/bin/false"], "x");
        assert!(matches!(mute.state, Usable::No { why, .. } if why.contains("/bin/false")));
        let bad = by_version(&["/bin/sh", "-c", "echo broken >&2; exit 3"], "x");
        assert!(matches!(bad.state, Usable::No { why, .. } if why == "broken"));
    }

    #[test]
    fn what_a_program_leaves_running_is_not_waited_for() {
        // Its standard output is the pipe for as long as it runs.
        let answer = ask(&["/bin/sh", "-c", "sleep 60 & echo $!"], &[]).unwrap();
        let pid = answer.stdout.trim().parse().ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw).unwrap();
        let is_running = std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        assert!(answer.ok && is_running);
        let much = ask(&["/bin/sh", "-c", "yes | head -n 200000"], &[]).unwrap();
        assert_eq!(much.stdout.len(), 400_000);
    }
}
