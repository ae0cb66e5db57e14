//! A machine without a supervisor of its own: `repot run`. The command itself is the parent of the stub, shows its
//! terminal, and ends with it.

use crate::cgroup::MachineCgroups;
use crate::dirs::Dirs;
use crate::error::{At, Error, Result};
use crate::file_server::FileServer;
use crate::handed_over::{self, HandedOver, remove_run_dir};
use crate::launch::{Launched, Prepared, launch};
use crate::pins::Pins;
use crate::registry::{self, MachineLock};
use crate::stdio::{Pump, Stdio, forward};
use crate::step::{Inputs, RootBy};
use crate::terminal::{Remote, SessionEnd, session};
use repot_model::{BootSpec, MachineState, Overlay, ProcessId, RuntimeState, STATE_VERSION};
use repot_sys::SignalSet;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGCHLD.
const WATCHED: &[i32] = &[1, 2, 3, 15, 17];

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The machine could not be started, nothing of it has run, and nothing is left behind.
    #[error(transparent)]
    NotStarted(Error),
    /// It ran; then something failed.
    #[error(transparent)]
    Later(Error),
}

impl From<RunError> for Error {
    /// What failed, for those who do not ask when: the exit status of a command depends on it.
    fn from(error: RunError) -> Self {
        let (RunError::NotStarted(error) | RunError::Later(error)) = error;
        error
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status, or 128 plus the number of the signal that ended it.
    pub status: u8,
    /// Processes that were killed for want of memory.
    pub oom_kills: u64,
}

/// Runs a machine until its PID 1 ends. `_lock` is the claim on its name.
///
/// # Errors
/// The machine could not be started, or not be cleaned up.
pub fn run_in_foreground(
    dirs: &Dirs,
    spec: &BootSpec,
    _lock: &MachineLock,
) -> std::result::Result<Ran, RunError> {
    let dir = dirs.running(&spec.name);
    let result = registry::make_private_dir(&dir)
        .map_err(RunError::NotStarted)
        .and_then(|()| run(dirs, spec));
    let removed = remove_run_dir(&dir);
    if spec.root.overlay == Overlay::Ephemeral {
        if let Some(plan) = &spec.hand_over {
            handed_over::forget(plan);
        }
        registry::forget_ephemeral(dirs, &spec.name);
    }
    let ran = result?;
    removed.map(|()| ran).map_err(RunError::Later)
}

fn run(dirs: &Dirs, spec: &BootSpec) -> std::result::Result<Ran, RunError> {
    let (pump, stdio) = match spec.terminals.is_empty() {
        true => Pump::new().map(|(pump, stdio)| (Some(pump), Some(stdio))),
        false => Ok((None, None)),
    }
    .map_err(RunError::NotStarted)?;
    // Before the program runs: what ends this process by default would else be lost on it.
    let set = SignalSet::of(WATCHED);
    let signals = repot_sys::block_signals(&set)
        .and_then(|()| repot_sys::signal_fd(&set))
        .map_err(|error| RunError::NotStarted(error.into()))?;
    let _pins = Pins::of(spec);
    let mut state = first_state(spec);
    // Written before anything is made: after a crash, the next command knows what to look for.
    let cgroups = registry::write_json(&dirs.running(&spec.name).join("state.json"), &state)
        .and_then(|()| MachineCgroups::create(spec))
        .map_err(RunError::NotStarted)?;
    let result = start(dirs, &mut state, stdio, &cgroups)
        .map_err(RunError::NotStarted)
        .and_then(|(mut machine, _delivered)| {
            follow_guarded(&mut machine, pump, &signals).map_err(RunError::Later)
        });
    let oom_kills = cgroups.oom_kills();
    let removed = cgroups.remove();
    let status = result?;
    let ran = Ran { status, oom_kills };
    removed.map(|()| ran).map_err(RunError::Later)
}

fn first_state(spec: &BootSpec) -> RuntimeState {
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    RuntimeState {
        version: STATE_VERSION,
        supervisor_pid: own_pid,
        supervisor_start: registry::start_time(own_pid).unwrap_or(0),
        leader_pid: 0,
        leader_start: 0,
        state: MachineState::Running,
        ready: None,
        booted_s: crate::supervisor::now_s(),
        boots: 1,
        oom_kills: 0,
        warnings: Vec::new(),
        file_server: None,
        spec: spec.clone(),
    }
}

/// Starts PID 1, or an engine's program, and notes on disk who it is. With it comes what has to last as long as that.
fn start(
    dirs: &Dirs,
    state: &mut RuntimeState,
    stdio: Option<Stdio>,
    cgroups: &MachineCgroups,
) -> Result<(Launched, Option<HandedOver>)> {
    let spec = &state.spec;
    let dir = dirs.running(&spec.name);
    let (machine, delivered) = match &spec.hand_over {
        Some(plan) => {
            let engine = HandedOver::prepare(plan, spec, &dir)?;
            (engine.launch(cgroups, stdio.as_ref())?, Some(engine))
        }
        None => (start_natively(spec, &dir, stdio, cgroups)?, None),
    };
    state.leader_pid = machine.pid;
    state.leader_start = registry::start_time(machine.pid).unwrap_or(0);
    state.warnings.clone_from(&machine.warnings);
    state.file_server = machine.server.as_ref().map(FileServer::id);
    // The program runs: what cannot be written now is no reason to say that it was not started.
    let _ = registry::write_json(&dir.join("state.json"), state);
    Ok((machine, delivered))
}

fn start_natively(
    spec: &BootSpec,
    dir: &Path,
    stdio: Option<Stdio>,
    cgroups: &MachineCgroups,
) -> Result<Launched> {
    let inputs = Inputs {
        staging: dir.to_owned(),
        notify_socket: None,
        host_os_release: String::new(),
        bind_is_dir: spec
            .binds
            .iter()
            .map(|bind| bind.host_path.is_dir())
            .collect(),
        root_by: RootBy::default(),
    };
    // The program's copies of the pipes are the only ones after this function, so that their end is its end.
    let prepared = Prepared::new(spec, &inputs)?.with_stdio(stdio);
    launch(spec, &prepared, cgroups)
}

/// As [`follow`]. A machine whose files nobody serves any more is ended.
fn follow_guarded(machine: &mut Launched, pump: Option<Pump>, signals: &OwnedFd) -> Result<u8> {
    let leader = ProcessId {
        pid: machine.pid,
        start: registry::start_time(machine.pid).unwrap_or(0),
    };
    if let Some(server) = &machine.server {
        server.guard(leader, &machine.pidfd)?;
    }
    let status = follow(machine, pump, signals)?;
    let loss = machine
        .server
        .as_mut()
        .and_then(|server| server.loss(status == 0));
    loss.map_or(Ok(status), Err)
}

/// Shows or copies what the program writes, until it has ended; its status.
fn follow(machine: &Launched, pump: Option<Pump>, signals: &OwnedFd) -> Result<u8> {
    match (machine.terminals.first(), pump) {
        (Some(master), _) => show(master, machine.pid, &machine.pidfd)?,
        (None, Some(pump)) => pump.run(&machine.pidfd, Some((signals, machine.pid)))?,
        (None, None) => {}
    }
    wait(machine.pid, &machine.pidfd, signals)
}

/// Shows the machine's terminal. A user who detaches, or a signal, ends it: nobody else looks after it.
fn show(master: &OwnedFd, pid: i32, pidfd: &OwnedFd) -> Result<()> {
    match session(Remote::Pty {
        master,
        process: pidfd,
    })? {
        SessionEnd::Closed | SessionEnd::Ended(_) => {}
        SessionEnd::Detached | SessionEnd::Signal(_) => {
            let _ = repot_sys::send_signal(pidfd, pid, Signal::KILL.as_raw());
        }
    }
    Ok(())
}

/// Waits for PID 1 and passes signals on to it meanwhile.
fn wait(pid: i32, pidfd: &OwnedFd, signals: &OwnedFd) -> Result<u8> {
    // A session on a terminal has unblocked them.
    repot_sys::block_signals(&SignalSet::of(WATCHED))?;
    loop {
        let found = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG)
            .at("waiting for", "the machine")?;
        if let Some((_, status)) = found {
            let code = status
                .exit_status()
                .or(status.terminating_signal().map(|signal| 128 + signal))
                .unwrap_or(255);
            return u8::try_from(code).map_err(|_| Error::ChildDied {
                status: format!("exit status {code}"),
            });
        }
        let mut fds = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
            .at("waiting for", "the machine")?;
        forward(signals, pidfd, pid)?;
    }
}
