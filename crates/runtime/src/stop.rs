//! Stopping and restarting: asks an init in its own way, waits, and kills only what does not listen.

use crate::cgroup;
use crate::dirs::Dirs;
use crate::end;
use crate::error::{At, Error, Result};
use crate::join::{Join, JoinStdio, join};
use crate::leader::Leader;
use crate::registry;
use crate::start::{Connection, Waited};
use crate::stdio::Stdio;
use repot_model::{MachineName, RuntimeState, Signal, Status, StopAction, StopProtocol};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long an init is given before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(6);

/// How a stop went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The init did what it was asked for.
    Clean(Status),
    /// It did not, and was killed.
    Killed {
        /// Why.
        why: String,
    },
    /// It has restarted, as asked.
    Restarted,
}

/// Asks a machine to power off, waits, then kills it. `timeout` replaces the init's own patience.
///
/// # Errors
/// The machine does not run, or does not even end when it is killed.
pub fn power_off(dirs: &Dirs, name: &MachineName, timeout: Option<Duration>) -> Result<Stopped> {
    if let Some(header) = registry::foreign(dirs, name) {
        return end::power_off(dirs, name, &header, timeout);
    }
    match ask_to_power_off(dirs, name, timeout) {
        Err(Error::SupervisorGone) => {
            clean_up(dirs, name)?;
            Ok(Stopped::Killed {
                why: "its supervisor was killed, and the machine with it".into(),
            })
        }
        other => other,
    }
}

fn ask_to_power_off(dirs: &Dirs, name: &MachineName, timeout: Option<Duration>) -> Result<Stopped> {
    let state = registry::running(dirs, name).ok_or_else(|| registry::not_running(dirs, name))?;
    let Some(needs) = &state.spec.needs else {
        return kill_stub(dirs, &state);
    };
    let connection = Connection::open(dirs, name)?;
    connection.announce_stop(false)?;
    let timeout = timeout.unwrap_or_else(|| patience(&needs.power_off));
    let deadline = Instant::now() + timeout;
    let mut asked = ask(&state, &needs.power_off);
    // An engine may have started its PID 1 only meanwhile.
    let now = || registry::running(dirs, name).unwrap_or_else(|| state.clone());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match connection.wait_end(Some(left.min(ASK_AGAIN)))? {
            Waited::Ended(status) => return Ok(Stopped::Clean(status)),
            Waited::Ready(_) | Waited::TimedOut if left <= ASK_AGAIN => break,
            // An init that is still booting may not have heard: runit takes requests only when all services are started.
            Waited::Ready(_) | Waited::TimedOut => asked = ask(&now(), &needs.power_off).or(asked),
        }
    }
    let why = match asked {
        Ok(how) => format!(
            "its init did not power off within {} s of {how}",
            timeout.as_secs()
        ),
        Err(why) => why,
    };
    let why = why_not(&state, why);
    kill_now(&now())?;
    registry::thaw(dirs, name);
    match connection.wait_end(Some(AFTER_KILL))? {
        Waited::Ended(_) => Ok(Stopped::Killed { why }),
        Waited::Ready(_) | Waited::TimedOut => Err(Error::Supervisor(format!(
            "{name} does not end although it was killed"
        ))),
    }
}

/// Ends a machine whose supervisor has been told that it is to stop.
fn kill_now(state: &RuntimeState) -> Result<()> {
    match send(state, Signal::KILL) {
        // One whose PID 1 is not known, in an engine, is its supervisor's to end: a signal after the announcement kills.
        Err(Error::NotRunning(_)) if state.spec.hand_over.is_some() => {
            Leader::of_process(state.supervisor_pid, state.supervisor_start)
                .ok_or_else(|| Error::NotRunning(state.spec.name.clone()))?
                .send(Signal::TERM)
        }
        other => other,
    }
}

/// How long something takes to be gone that was killed: an engine may have to be told.
const AFTER_KILL: Duration = Duration::from_secs(60);

/// Asks a machine to restart and waits until it goes down.
///
/// # Errors
/// The machine does not run.
pub fn reboot(dirs: &Dirs, name: &MachineName, timeout: Option<Duration>) -> Result<Stopped> {
    let state = registry::running(dirs, name).ok_or_else(|| registry::not_running(dirs, name))?;
    let Some(needs) = &state.spec.needs else {
        return Err(Error::Invalid {
            what: format!("machine {name}"),
            why: "it runs a command, which cannot reboot".into(),
        });
    };
    let connection = Connection::open(dirs, name)?;
    connection.announce_stop(true)?;
    let timeout = timeout.unwrap_or_else(|| patience(&needs.reboot));
    let asked = ask(&state, &needs.reboot);
    match connection.wait_reboot(Some(timeout))? {
        Waited::Ready(_) => return Ok(Stopped::Restarted),
        Waited::Ended(status) => return Ok(Stopped::Clean(status)),
        Waited::TimedOut => {}
    }
    let why = match asked {
        Ok(how) => format!(
            "its init did not restart within {} s of {how}",
            timeout.as_secs()
        ),
        Err(why) => why,
    };
    let why = why_not(&state, why);
    send(&state, Signal::KILL)?;
    registry::thaw(dirs, name);
    connection.wait_reboot(Some(Duration::from_secs(30)))?;
    Ok(Stopped::Killed { why })
}

/// Sends a signal to the PID 1 of a machine, whatever version of repot runs it. After SIGKILL, waits until everything is
/// cleaned up.
///
/// # Errors
/// The machine does not run, or does not end although it was killed.
pub fn kill(dirs: &Dirs, name: &MachineName, signal: Signal) -> Result<()> {
    let header = registry::supervised(dirs, name).ok_or_else(|| Error::NotRunning(name.clone()))?;
    if signal != Signal::KILL {
        return end::signal(dirs, name, &header, signal);
    }
    // Else a reboot that another command has asked for would follow. One that says nothing is killed all the same.
    let connection = Connection::open(dirs, name);
    if let Ok(connection) = &connection {
        let _ = connection.announce_stop(false);
    }
    end::signal(dirs, name, &header, signal)?;
    clean_up(dirs, name)
}

/// Waits until what was killed has let go of the machine, and removes what is left.
fn clean_up(dirs: &Dirs, name: &MachineName) -> Result<()> {
    match registry::lock(dirs, name) {
        // Another command has started it again.
        Ok(_) | Err(Error::AlreadyRunning(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why an init did not do what it was asked for, if more than that can be seen.
fn why_not(state: &RuntimeState, why: String) -> String {
    match cgroup::frozen(state.leader_pid) {
        Some(dir) => format!("{why}, since its cgroup {} is frozen", dir.display()),
        None => why,
    }
}

/// Sends a signal to a machine's PID 1.
fn send(state: &RuntimeState, signal: Signal) -> Result<()> {
    Leader::of(state)?.send(signal)
}

/// A machine in shell mode: its stub passes SIGTERM on, but its command may not listen.
fn kill_stub(dirs: &Dirs, state: &RuntimeState) -> Result<Stopped> {
    let leader = Leader::of(state)?;
    leader.send(Signal::TERM)?;
    if !leader.wait_end(Duration::from_secs(5)) {
        leader.send(Signal::KILL)?;
        registry::thaw(dirs, &state.spec.name);
        leader.wait_end(Duration::from_secs(30));
        return Ok(Stopped::Killed {
            why: "its command did not end within 5 s of SIGTERM".into(),
        });
    }
    Ok(Stopped::Clean(Status::PoweredOff))
}

fn patience(protocol: &StopProtocol) -> Duration {
    Duration::from_secs(u64::from(protocol.patience_s.max(1)))
}

/// Carries out the first request that can be carried out; says which, or why none could.
fn ask(state: &RuntimeState, protocol: &StopProtocol) -> std::result::Result<String, String> {
    let mut failures = Vec::new();
    for action in &protocol.requests {
        match carry_out(state, action) {
            Ok(how) => return Ok(how),
            Err(why) => failures.push(why),
        }
    }
    Err(format!(
        "its init could not be asked: {}",
        failures.join("; ")
    ))
}

fn carry_out(state: &RuntimeState, action: &StopAction) -> std::result::Result<String, String> {
    match action {
        StopAction::Signal { signal } => send(state, *signal)
            .map(|()| signal.to_string())
            .map_err(|error| error.to_string()),
        StopAction::Run { argv } => {
            let shown = argv.join(" ");
            match run(state, argv) {
                Ok(0) => Ok(format!("`{shown}`")),
                Ok(code) => Err(format!("`{shown}` ended with status {code}")),
                // The machine may have gone down under the command that asked it to.
                Err(Error::NotRunning(_)) => Ok(format!("`{shown}`")),
                Err(error) => Err(error.to_string()),
            }
        }
        StopAction::Touch { path, mode, signal } => {
            // By a shell of the machine, in the machine: the path is the machine's own.
            let script = format!(": >\"$1\" && chmod {mode:o} \"$1\"");
            let argv = ["/bin/sh", "-c", &script, "sh", path].map(str::to_owned);
            match run(state, &argv) {
                Ok(0) => send(state, *signal)
                    .map(|()| format!("{path} and {signal}"))
                    .map_err(|error| error.to_string()),
                Ok(code) => Err(format!("creating {path} ended with status {code}")),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// Runs a program of the machine as its root, silently. A status that its end under the shutdown gives counts as success.
fn run(state: &RuntimeState, argv: &[String]) -> Result<u8> {
    let null = || -> Result<OwnedFd> {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(Into::into)
            .at("opening", "/dev/null")
    };
    let joined = join(
        state,
        &Join {
            argv: argv.to_vec(),
            program: None,
            env: vec![
                ("PATH".into(), crate::stub::DEFAULT_PATH.into()),
                ("TERM".into(), "dumb".into()),
                ("HOME".into(), "/root".into()),
            ],
            cwd: "/".into(),
            cwd_or_root: true,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            stdio: JoinStdio::Files(Stdio {
                stdin: null()?,
                stdout: null()?,
                stderr: null()?,
            }),
        },
    )?;
    // One that does not return is at it. One that was killed went down with the machine that it brought down.
    let code = joined.wait_for(PROGRAM_TIME)?.unwrap_or(0);
    Ok(if matches!(code, 129 | 137 | 143) {
        0
    } else {
        code
    })
}

/// How long a program that asks for a shutdown is watched.
const PROGRAM_TIME: Duration = Duration::from_secs(5);
