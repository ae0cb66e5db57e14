//! A machine without a supervisor of its own: `repot run`. The command itself is the parent of the stub, shows its
//! terminal, and ends with it.

use crate::cgroup::MachineCgroups;
use crate::dirs::Dirs;
use crate::error::{At, Error, Result};
use crate::launch::{Prepared, launch};
use crate::registry::{self, MachineLock};
use crate::stdio::Pump;
use crate::step::Inputs;
use crate::terminal::{Remote, SessionEnd, session};
use repot_model::{BootSpec, MachineState, Overlay, RuntimeState, STATE_VERSION};
use repot_sys::SignalSet;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use std::os::fd::{AsFd, OwnedFd};

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGCHLD.
const WATCHED: &[i32] = &[1, 2, 3, 15, SIGCHLD];
const SIGCHLD: i32 = 17;

/// Runs a machine until its PID 1 ends; returns its exit status, or 128 plus the number of the signal that ended it.
///
/// # Errors
/// The machine could not be started. Nothing is left behind.
pub fn run_in_foreground(dirs: &Dirs, spec: &BootSpec, lock: MachineLock) -> Result<u8> {
    registry::sweep(dirs, &spec.name)?;
    let dir = dirs.running(&spec.name);
    registry::make_private_dir(&dir)?;
    let result = run(dirs, spec);
    let removed = std::fs::remove_dir_all(&dir).at("removing", dir);
    if spec.root.overlay == Overlay::Ephemeral {
        registry::forget_ephemeral(dirs, &spec.name);
    }
    drop(lock);
    let status = result?;
    removed.map(|()| status)
}

fn run(dirs: &Dirs, spec: &BootSpec) -> Result<u8> {
    let dir = dirs.running(&spec.name);
    let inputs = Inputs {
        staging: dir.clone(),
        notify_socket: None,
        host_os_release: String::new(),
        bind_is_dir: spec
            .binds
            .iter()
            .map(|bind| bind.host_path.is_dir())
            .collect(),
    };
    let (pump, stdio) = match spec.terminals.is_empty() {
        true => Pump::new().map(|(pump, stdio)| (Some(pump), Some(stdio)))?,
        false => (None, None),
    };
    let prepared = Prepared::new(spec, &inputs)?.with_stdio(stdio);
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let mut state = RuntimeState {
        version: STATE_VERSION,
        supervisor_pid: own_pid,
        supervisor_start: registry::start_time(own_pid).unwrap_or(0),
        leader_pid: 0,
        leader_start: 0,
        state: MachineState::Running,
        ready: None,
        booted_s: crate::supervisor::now_s(),
        boots: 1,
        warnings: Vec::new(),
        spec: spec.clone(),
    };
    registry::write_json(&dir.join("state.json"), &state)?;
    let cgroups = MachineCgroups::create(&spec.cgroup, &spec.idmap)?;
    let result = launch(spec, &prepared, &cgroups).and_then(|machine| {
        // The program's copies of the pipes are the only ones from here on, so that their end is its end.
        drop(prepared);
        state.leader_pid = machine.pid;
        state.leader_start = registry::start_time(machine.pid).unwrap_or(0);
        registry::write_json(&dir.join("state.json"), &state)?;
        match (machine.terminals.first(), pump) {
            (Some(master), _) => show(master, machine.pid, &machine.pidfd)?,
            (None, Some(pump)) => pump.run(&machine.pidfd)?,
            (None, None) => {}
        }
        wait(machine.pid, &machine.pidfd)
    });
    let removed = cgroups.remove();
    let status = result?;
    removed.map(|()| status)
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
fn wait(pid: i32, pidfd: &OwnedFd) -> Result<u8> {
    let set = SignalSet::of(WATCHED);
    repot_sys::block_signals(&set)?;
    let signals = repot_sys::signal_fd(&set)?;
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
        while let Some(number) = repot_sys::take_signal(&signals)? {
            if number != SIGCHLD {
                let _ = repot_sys::send_signal(pidfd, pid, number);
            }
        }
    }
}
