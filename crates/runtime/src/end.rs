//! The end of a machine by signals to its processes, without a word to its supervisor. It needs only what all versions of
//! repot have in common: the PIDs in the state's header, and that a supervisor stops its machine on SIGTERM.

use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::leader::Leader;
use crate::registry;
use crate::stop::Stopped;
use repot_model::{MachineName, Signal, StateHeader, Status};
use std::time::Duration;

/// How long a supervisor is given, since the patience of the machine's init is not known: longer than systemd gives its stop
/// jobs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long something takes to be cleaned up that was killed.
const AFTER_KILL: Duration = Duration::from_secs(30);

/// Has the supervisor stop its machine, in its own way.
///
/// # Errors
/// It has ended, or does not end although its machine was killed.
pub(crate) fn power_off(
    dirs: &Dirs,
    name: &MachineName,
    header: &StateHeader,
    timeout: Option<Duration>,
) -> Result<Stopped> {
    let supervisor = supervisor(name, header)?;
    supervisor.send(Signal::TERM)?;
    if supervisor.wait_end(timeout.unwrap_or(PATIENCE)) {
        return Ok(Stopped::Clean(Status::PoweredOff));
    }
    signal(dirs, name, header, Signal::KILL)?;
    Ok(Stopped::Killed {
        why: "its supervisor, of another version of repot, did not stop it in time".into(),
    })
}

/// Sends a signal to the machine's PID 1. After SIGKILL, waits until the supervisor has cleaned up.
///
/// # Errors
/// As [`power_off`].
pub(crate) fn signal(
    dirs: &Dirs,
    name: &MachineName,
    header: &StateHeader,
    signal: Signal,
) -> Result<()> {
    let supervisor = supervisor(name, header)?;
    let leader = Leader::of_process(header.leader_pid, header.leader_start);
    match (leader, signal) {
        (Some(leader), _) => leader.send(signal)?,
        // It has no PID 1 yet: the supervisor is all there is.
        (None, Signal::KILL) => supervisor.send(signal)?,
        (None, _) => return Err(Error::NotRunning(name.clone())),
    }
    if signal != Signal::KILL {
        return Ok(());
    }
    registry::thaw(dirs, name);
    if !supervisor.wait_end(AFTER_KILL) {
        return Err(Error::Supervisor(format!(
            "the supervisor of {name} does not end although its machine was killed"
        )));
    }
    Ok(())
}

fn supervisor(name: &MachineName, header: &StateHeader) -> Result<Leader> {
    Leader::of_process(header.supervisor_pid, header.supervisor_start)
        .ok_or_else(|| Error::NotRunning(name.clone()))
}
