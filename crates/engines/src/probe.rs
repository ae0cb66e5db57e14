//! Runs an engine's program to ask it something, with a deadline: a daemon that does not answer must not stop repot.

use crate::{Discovery, Host, Usable};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an engine may think about its own version.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended: nothing else announces that to a process without a signal handler.
const INTERVAL: Duration = Duration::from_millis(5);
/// More than this nobody says of himself.
const LIMIT: u64 = 1 << 20;

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
    // Read beside, so that a program that says much is not stuck.
    let out = child.stdout.take().map(reader);
    let err = child.stderr.take().map(reader);
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
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
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    };
    Some(Answer {
        ok: status.success(),
        stdout: text(out),
        stderr: text(err),
    })
}

fn reader(pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.take(LIMIT).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
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
                why: first_line(&answer.stderr).to_owned(),
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
        let bad = by_version(&["/bin/sh", "-c", "echo broken >&2; exit 3"], "x");
        assert!(matches!(bad.state, Usable::No { why, .. } if why == "broken"));
    }
}
