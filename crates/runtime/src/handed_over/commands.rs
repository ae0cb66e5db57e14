//! Runs an engine's commands to their end, with a deadline.

use crate::leader::Leader;
use repot_model::{CommandLine, HandOver, Signal, StateHeader};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take that kills: an engine's daemon may be busy with other machines.
const KILL_TIME: Duration = Duration::from_secs(30);

/// How long one may take that removes: files of a whole tree.
const REMOVE_TIME: Duration = Duration::from_secs(300);

/// How often it is looked whether a command has ended: this may be a process without a handler for SIGCHLD.
const INTERVAL: Duration = Duration::from_millis(5);

/// So much of what a command says is read at a time, and so much is kept.
const MAX_SAID: u64 = 64 * 1024;
const MAX_KEPT: usize = 1 << 20;

/// Why a command of an engine did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("starting `{command}`")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It failed.
    #[error("`{command}` {how}: {said}")]
    Failed {
        /// The command.
        command: String,
        /// Its end in words.
        how: String,
        /// What it printed.
        said: String,
    },
}

/// Runs a command. What it prints is returned, or is in the error.
///
/// # Errors
/// It cannot be started, fails, or takes longer than `deadline`; then it was killed.
pub fn run_command(command: &CommandLine, deadline: Duration) -> Result<String, CommandError> {
    let shown = command.to_string();
    let start = |source| CommandError::Start {
        command: shown.clone(),
        source,
    };
    let (program, args) = command
        .argv
        .split_first()
        .ok_or_else(|| start(std::io::ErrorKind::InvalidInput.into()))?;
    let (reader, writer) = std::io::pipe().map_err(start)?;
    let spawned = Command::new(program)
        .args(args)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(start)?)
        .stderr(writer)
        .spawn();
    let mut child = spawned.map_err(start)?;
    let until = Instant::now() + deadline;
    let mut said = Vec::new();
    let _ = rustix::io::ioctl_fionbio(reader.as_fd(), true);
    // Without a thread, since the supervisor must not have any.
    let how = loop {
        let _ = (&reader).take(MAX_SAID).read_to_end(&mut said);
        said.truncate(MAX_KEPT);
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break None,
            Ok(Some(status)) => break Some(format!("ended with {status}")),
            Err(error) => break Some(format!("cannot be waited for: {error}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(INTERVAL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("did not end within {} s", deadline.as_secs()));
            }
        }
    };
    let _ = (&reader).take(MAX_SAID).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match how {
        None => Ok(said),
        Some(how) => Err(CommandError::Failed {
            command: shown,
            how,
            said,
        }),
    }
}

/// Ends a machine in its engine, whatever state it is in.
pub(crate) fn end_by_force(plan: &HandOver, header: Option<&StateHeader>) {
    if let Some(leader) =
        header.and_then(|header| Leader::of_process(header.leader_pid, header.leader_start))
    {
        let _ = leader.send(Signal::KILL);
    }
    for command in &plan.kill {
        // It says so if there is nothing to kill.
        let _ = run_command(command, KILL_TIME);
    }
}

/// Takes back all that an engine was told of a machine.
pub fn forget(plan: &HandOver) {
    for command in &plan.remove {
        // It says so if there is nothing to remove.
        let _ = run_command(command, REMOVE_TIME);
    }
    for file in &plan.files {
        let _ = std::fs::remove_file(&file.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_run_with_a_deadline() {
        let sh = |script: &str| CommandLine::new(["/bin/sh", "-c", script]);
        let time = Duration::from_secs(10);
        assert_eq!(
            run_command(&sh("echo a; echo b >&2"), time).unwrap(),
            "a\nb"
        );
        let failed = run_command(&sh("echo no; exit 3"), time).unwrap_err();
        assert!(
            failed.to_string().ends_with("exit status: 3: no"),
            "{failed}"
        );
        let much = run_command(&sh("yes | head -n 200000"), time).unwrap();
        assert_eq!(much.len(), 200_000 * 2 - 1);
        let late = run_command(&sh("exec sleep 60"), Duration::from_millis(50)).unwrap_err();
        assert!(late.to_string().contains("did not end"), "{late}");
        let missing = run_command(&CommandLine::new(["/no/such/engine"]), time).unwrap_err();
        assert!(matches!(missing, CommandError::Start { .. }), "{missing:?}");
    }
}
