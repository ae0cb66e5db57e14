//! Starts an engine's program in the foreground of a new pty.

use crate::cgroup::MachineCgroups;
use crate::error::{At, Error, Result};
use crate::launch::Launched;
use crate::stdio::Stdio;
use repot_model::CommandLine;
use repot_sys::{Cloned, Namespaces, clone_process};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::pty::OpenptFlags;
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

/// Starts it: in these cgroups, and in a session of its own with the pty as controlling terminal and as standard files, or with
/// these files and no terminal; it dies with its caller.
///
/// # Errors
/// There is no pty, or no such program, or the cgroups do not take it.
pub(super) fn start(
    command: &CommandLine,
    cgroups: &MachineCgroups,
    stdio: Option<&Stdio>,
) -> Result<Launched> {
    let program = command.argv.first().cloned().unwrap_or_default();
    let (argv, env) = words(command)?;
    let pty = match stdio {
        Some(_) => None,
        None => Some(new_pty()?),
    };
    let slave = pty.as_ref().map(|(_, slave)| slave);
    let (mut failure, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map(|(reader, writer)| (std::fs::File::from(reader), writer))
        .at("making", "a pipe")?;
    let entrances = cgroups.entrances()?;
    let (pid, pidfd) = match clone_process(Namespaces::NONE)? {
        Cloned::Child => {
            let errno = match entrances.enter(false) {
                Ok(()) => run(&argv, &env, slave, stdio),
                Err(errno) => errno,
            };
            let _ = rustix::io::write(&writer, &errno.raw_os_error().to_le_bytes());
            repot_sys::exit_now(127)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(writer);
    // The pipe is closed by the exec, or holds why there was none.
    let mut errno = [0u8; 4];
    if failure.read_exact(&mut errno).is_ok() {
        let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
        return Err(Error::EngineProgram {
            program,
            errno: Errno::from_raw_os_error(i32::from_le_bytes(errno)),
        });
    }
    Ok(Launched {
        pid,
        pidfd,
        terminals: pty.map(|(master, _)| master).into_iter().collect(),
        warnings: Vec::new(),
        server: None,
    })
}

/// A pty: the side of those who look at it, and the program's.
fn new_pty() -> Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).at("opening", "/dev/ptmx")?;
    rustix::pty::unlockpt(&master).at("unlocking", "a pty")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).at("opening", "a pty")?;
    Ok((master, slave))
}

/// argv and environment: this process' own, with those of the command in place of what has the same name.
fn words(command: &CommandLine) -> Result<(Vec<CString>, Vec<CString>)> {
    let invalid = |error: std::ffi::NulError| Error::Invalid {
        what: "argument or variable".into(),
        why: error.to_string(),
    };
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in &command.env {
        variables.insert(name.into(), value.into());
    }
    let argv = command
        .argv
        .iter()
        .map(|word| CString::new(word.as_str()).map_err(invalid))
        .collect::<Result<_>>()?;
    let env = variables
        .into_iter()
        .map(|(name, value)| {
            let bytes = [name.into_vec(), b"=".to_vec(), value.into_vec()].concat();
            CString::new(bytes).map_err(invalid)
        })
        .collect::<Result<_>>()?;
    Ok((argv, env))
}

/// The child. Returns only if the program cannot be executed.
fn run(
    argv: &[CString],
    env: &[CString],
    terminal: Option<&OwnedFd>,
    stdio: Option<&Stdio>,
) -> Errno {
    let settle = || -> std::result::Result<(), Errno> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::setsid()?;
        if let Some(terminal) = terminal {
            rustix::process::ioctl_tiocsctty(terminal)?;
            rustix::stdio::dup2_stdin(terminal)?;
            rustix::stdio::dup2_stdout(terminal)?;
            rustix::stdio::dup2_stderr(terminal)?;
        }
        if let Some(stdio) = stdio {
            stdio.install()?;
        }
        repot_sys::cloexec_from(3).map_err(|error| error.errno)
    };
    if let Err(errno) = settle() {
        return errno;
    }
    repot_sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    crate::stub::exec_in_path(argv, env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told() {
        // Tests have threads, which clone_process refuses; the words are what can be looked at.
        let command = CommandLine::new(["engine", "-x"]).env("REPOT_TEST_WORD", "1");
        let (argv, env) = words(&command).unwrap();
        assert_eq!(argv, [c"engine".to_owned(), c"-x".to_owned()]);
        assert!(env.contains(&c"REPOT_TEST_WORD=1".to_owned()));
        assert!(words(&CommandLine::new(["a\0b"])).is_err());
    }
}
