//! The ends and restarts of a machine, and how each is taken.

use super::engine::Watch;
use super::{
    FAST, Launcher, MAX_FAST_REBOOTS, OomWatch, SIGHUP, SIGINT, Supervisor, console, now_s,
};
use crate::cgroup::MachineCgroups;
use crate::error::Result;
use crate::file_server::{self, FileServer};
use crate::handed_over;
use crate::launch::Launched;
use crate::protocol::Event;
use crate::registry::{self, LastRun};
use repot_model::{BootSpec, MachineState, Overlay, ProcessId, ReadySign, RuntimeState, Status};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::readiness::Readiness;

impl Supervisor<'_> {
    /// Ends the machine at once.
    pub(super) fn kill(&mut self) {
        match &self.launcher {
            Launcher::Native(_) => self.kill_child(),
            Launcher::Engine(_) => self.kill_in_engine(),
        }
    }

    /// Kills the process that this one is the parent of.
    pub(super) fn kill_child(&self) {
        let _ =
            repot_sys::send_signal(&self.machine.pidfd, self.machine.pid, Signal::KILL.as_raw());
        registry::thaw(self.dirs, &self.spec.name);
    }

    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == Pid::from_raw(self.machine.pid) {
                match &self.launcher {
                    Launcher::Native(_) => self.leader_ended(of_leader(status)),
                    Launcher::Engine(_) => self.program_ended(status),
                }
                continue;
            }
            let pid = pid.as_raw_nonzero().get();
            if self
                .machine
                .server
                .as_ref()
                .is_some_and(|server| server.id().pid == pid)
            {
                self.server_ended(status);
                continue;
            }
            let pid = i64::from(pid);
            if self
                .login
                .as_ref()
                .is_some_and(|login| i64::from(login.id()) == pid)
            {
                self.login = None;
            } else {
                self.probe_ended(pid);
            }
        }
    }

    /// What serves the machine's files has ended. It does so by itself when the machine has ended, of which we may hear later.
    fn server_ended(&mut self, status: WaitStatus) {
        let leader = ProcessId {
            pid: self.state.leader_pid,
            start: self.state.leader_start,
        };
        let Some(server) = &mut self.machine.server else {
            return;
        };
        let is_lost = file_server::is_in_use(leader);
        server.note_end(status, is_lost);
        if is_lost {
            self.kill();
        }
    }

    /// What the machine said last is still in the ptys.
    pub(super) fn drain(&mut self) {
        for number in 0..self.consoles.len() {
            for _ in 0..64 {
                if !self.read_console(number) {
                    break;
                }
            }
        }
    }

    /// PID 1 has ended: the kernel has killed everything else in the machine.
    pub(super) fn leader_ended(&mut self, status: Status) {
        self.drain();
        self.report_kills();
        // Waited for: the next boot may not share the upper directory with it.
        let has_ended_well = matches!(status, Status::PoweredOff | Status::Rebooted);
        let server = self.machine.server.take();
        if let Some(loss) = server.and_then(|mut server| server.loss(has_ended_well)) {
            self.failure = Some(loss.to_string());
        }
        let intent = self.intent.take().unwrap_or(status == Status::Rebooted);
        let restarts = intent && self.failure.is_none();
        if !restarts || !self.may_restart() {
            self.ended = Some(status);
            return;
        }
        self.broadcast(&Event::Rebooting, |_| true);
        if let Err(error) = self.relaunch() {
            self.broadcast(&Event::Failed(chain(&error)), |_| true);
            self.ended = Some(status);
        }
    }

    /// Counts a restart; one that does nothing but restart is ended.
    pub(super) fn may_restart(&mut self) -> bool {
        self.fast_reboots = if self.booted.elapsed() < FAST {
            self.fast_reboots + 1
        } else {
            0
        };
        self.fast_reboots < MAX_FAST_REBOOTS
    }

    fn relaunch(&mut self) -> Result<()> {
        self.cgroups.remove()?;
        self.cgroups = MachineCgroups::create(&self.spec)?;
        self.oom = OomWatch::new(&self.cgroups);
        self.machine = self.launcher.launch(&self.spec, &self.cgroups)?;
        self.consoles = console::take(&mut self.machine, &self.spec, self.size);
        self.watch = Watch::of(&self.launcher, Instant::now());
        note_leader(&mut self.state, &self.launcher, &self.machine);
        self.begin_boot();
        self.write_state();
        if self.watch.is_own() {
            self.broadcast(&Event::Started, |_| true);
        }
        Ok(())
    }

    /// Another boot of the same machine.
    pub(super) fn begin_boot(&mut self) {
        self.booted = Instant::now();
        self.readiness = readiness_of(&self.spec, self.booted);
        self.state.state = MachineState::Starting;
        self.state.ready = None;
        self.state.booted_s = now_s();
        self.state.boots += 1;
    }

    /// Removes what the machine used, then tells everybody.
    pub(super) fn finish(self, locks: Vec<OwnedFd>) {
        let Self {
            dirs,
            spec,
            launcher,
            cgroups,
            consoles,
            clients,
            state,
            ended,
            failure,
            ..
        } = self;
        let status = ended.unwrap_or(Status::Killed(9));
        drop(consoles);
        let _ = cgroups.remove();
        let kept = dirs.machine(&spec.name);
        if spec.root.overlay == Overlay::Ephemeral {
            if let Launcher::Engine(engine) = &launcher {
                handed_over::forget(&engine.plan);
            }
            registry::forget_ephemeral(dirs, &spec.name);
        } else {
            let _ = registry::write_json(
                &kept.join("last.json"),
                &LastRun {
                    status,
                    ended_s: now_s(),
                    oom_kills: state.oom_kills,
                    reason: failure.clone(),
                },
            );
        }
        // With it go the mounts that an engine has used.
        drop(launcher);
        let _ = handed_over::remove_run_dir(&dirs.running(&spec.name));
        // Whoever hears of the end may start the next one.
        drop(locks);
        let packet = failure.map_or(Event::Ended(status), Event::Failed).encode();
        for client in &clients {
            let _ = crate::protocol::post(&client.socket, &packet);
        }
    }
}

/// How PID 1 ended, and with it the machine (reboot(2), "Behavior inside PID namespaces").
fn of_leader(status: WaitStatus) -> Status {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) | (_, Some(SIGINT)) => Status::PoweredOff,
        (_, Some(SIGHUP)) => Status::Rebooted,
        (Some(code), _) => Status::Exited(u8::try_from(code).unwrap_or(255)),
        (_, signal) => Status::Killed(u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
    }
}

/// An error with its causes, as one text.
pub(super) fn chain(error: &crate::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

pub(super) fn readiness_of(spec: &BootSpec, now: Instant) -> Readiness {
    let sign = spec
        .needs
        .as_ref()
        .map_or(ReadySign::Prompt, |needs| match spec.hand_over {
            // The socket is of the native runtime.
            Some(_) => ReadySign::Prompt,
            None => needs.ready,
        });
    Readiness::new(sign, spec.needs.is_some(), !spec.console_login, now)
}

/// Takes note of a PID 1 that this process is the parent of. An engine's is not known yet.
pub(super) fn note_leader(state: &mut RuntimeState, launcher: &Launcher, machine: &Launched) {
    (state.leader_pid, state.leader_start) = match launcher {
        Launcher::Native(_) => (machine.pid, registry::start_time(machine.pid).unwrap_or(0)),
        Launcher::Engine(_) => (0, 0),
    };
    state.warnings.clone_from(&machine.warnings);
    state.file_server = machine.server.as_ref().map(FileServer::id);
}
