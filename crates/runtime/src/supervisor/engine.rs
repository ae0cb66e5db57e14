//! Follows a machine that an engine runs: its PID 1 is no child of ours, so it has to be looked for, its end is seen from
//! outside, and what the engine's program says about that end is its exit status.

use super::{Launcher, Supervisor};
use crate::handed_over::{self, ProbeCommand};
use crate::leader::Leader;
use crate::protocol::{Event, PACKET};
use crate::registry;
use repot_model::{HandOver, LeaderProbe, MachineState, Signal, Status};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitStatus};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How soon PID 1 is looked for, and how often at the least.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const SLOWEST_LOOK: Duration = Duration::from_millis(500);

/// How long an engine may take until PID 1 runs.
const START_TIME: Duration = Duration::from_secs(60);

/// How long an engine may take to notice that PID 1 has ended, and how long after it was told so by force.
const END_TIME: Duration = Duration::from_secs(10);

/// How often a machine that stops is looked at, and how often an end that nothing announces is looked for.
const STOP_LOOK: Duration = Duration::from_millis(500);

/// How long nothing but PID 1 is left of a machine that cannot tell the kernel that it is done, until that is taken for its
/// end.
const ALONE: Duration = Duration::from_secs(3);

/// How much of what was said before PID 1 ran is kept for whoever waits for it.
const MAX_EARLY: usize = 64 * 1024;

/// Where the PID 1 of this boot is.
#[derive(Debug)]
pub(super) enum Watch {
    /// It is a child of this process, which hears of its end.
    Own,
    /// It is looked for.
    Seeking(Seeking),
    /// It runs.
    Running(Running),
    /// It has ended, and the engine's program has not, or both are being ended.
    Ending {
        /// The time to do more about it.
        due: Instant,
        /// Whether the engine was told.
        is_forced: bool,
    },
}

#[derive(Debug)]
pub(super) struct Seeking {
    due: Instant,
    pause: Duration,
    until: Instant,
    asked: Option<ProbeCommand>,
}

impl Drop for Seeking {
    fn drop(&mut self) {
        // It may be waiting for a daemon that does not answer.
        if let Some(asked) = self.asked.take() {
            asked.abandon();
        }
    }
}

#[derive(Debug)]
pub(super) struct Running {
    leader: Leader,
    /// Readable when it has ended. `None` before Linux 5.3: then it is looked at from time to time.
    pidfd: Option<OwnedFd>,
    due: Option<Instant>,
    alone_since: Option<Instant>,
}

impl Watch {
    /// At the start of a boot.
    pub(super) fn of(launcher: &Launcher, now: Instant) -> Self {
        match launcher {
            Launcher::Native(_) => Self::Own,
            Launcher::Engine(_) => Self::seek(now),
        }
    }

    fn seek(now: Instant) -> Self {
        Self::Seeking(Seeking {
            due: now + FIRST_LOOK,
            pause: FIRST_LOOK,
            until: now + START_TIME,
            asked: None,
        })
    }

    /// Whether PID 1 is a child of this process.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// Whether PID 1 is not known yet.
    pub(super) fn is_seeking(&self) -> bool {
        matches!(self, Self::Seeking(_))
    }

    /// The time to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Own => None,
            Self::Seeking(seeking) => Some(seeking.due),
            Self::Running(running) => running.due,
            Self::Ending { due, .. } => Some(*due),
        }
    }

    /// For poll(2); `stand_in` where there is nothing to wait for.
    pub(super) fn poll<'fd>(&'fd self, stand_in: &'fd OwnedFd) -> PollFd<'fd> {
        match self {
            Self::Running(Running {
                pidfd: Some(pidfd), ..
            }) => PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
            Self::Running(_) | Self::Own | Self::Seeking(_) | Self::Ending { .. } => {
                PollFd::from_borrowed_fd(stand_in.as_fd(), PollFlags::empty())
            }
        }
    }
}

impl Supervisor<'_> {
    fn plan(&self) -> Option<HandOver> {
        match &self.launcher {
            Launcher::Native(_) => None,
            Launcher::Engine(engine) => Some(engine.plan.clone()),
        }
    }

    /// To be called when the watch is told or due.
    pub(super) fn follow_engine(&mut self, is_told: bool) {
        let now = Instant::now();
        if !is_told && self.watch.due().is_none_or(|due| now < due) {
            return;
        }
        let Some(plan) = self.plan() else { return };
        match &mut self.watch {
            Watch::Own => {}
            Watch::Seeking(seeking) => {
                if now >= seeking.until {
                    self.kill_in_engine();
                    return;
                }
                seeking.due = now + seeking.pause;
                seeking.pause = (seeking.pause * 5 / 4).min(SLOWEST_LOOK);
                let found = match &plan.leader {
                    LeaderProbe::Descendant => handed_over::nearest_leader(self.machine.pid),
                    LeaderProbe::Command { command } => {
                        if seeking.asked.is_none() {
                            seeking.asked = ProbeCommand::start(command);
                        }
                        None
                    }
                };
                self.found(found);
            }
            Watch::Running(running) => {
                if is_told || running.leader.has_ended() {
                    self.leader_gone(&plan, now);
                } else {
                    self.look_whether_alone(now);
                }
            }
            Watch::Ending { due, is_forced } => {
                let was_forced = std::mem::replace(is_forced, true);
                *due = now + END_TIME;
                if !was_forced {
                    handed_over::end_by_force(&plan, None);
                } else {
                    self.kill_child();
                }
            }
        }
    }

    /// A child that is neither the engine's program nor the console's login has ended.
    pub(super) fn probe_ended(&mut self, pid: i64) {
        let Watch::Seeking(seeking) = &mut self.watch else {
            return;
        };
        if seeking
            .asked
            .as_ref()
            .is_some_and(|asked| i64::from(asked.pid()) == pid)
        {
            let found = seeking.asked.take().and_then(ProbeCommand::answer);
            self.found(found);
        }
    }

    /// PID 1 may have been found.
    fn found(&mut self, pid: Option<i32>) {
        let Some((pid, start)) = pid.and_then(|pid| Some((pid, registry::start_time(pid)?))) else {
            return;
        };
        let Some(leader) = Leader::of_process(pid, start) else {
            return;
        };
        // Opened while the leader is held, so that it is this process' (pidfd_open(2)).
        let pidfd = Pid::from_raw(pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
            .filter(|_| !leader.has_ended());
        handed_over::free_console(pid);
        let now = Instant::now();
        let is_next = self.state.leader_pid != 0;
        self.watch = Watch::Running(Running {
            leader,
            due: pidfd.is_none().then_some(now + STOP_LOOK),
            pidfd,
            alone_since: None,
        });
        (self.state.leader_pid, self.state.leader_start) = (pid, start);
        if is_next {
            // The engine has restarted the machine by itself.
            if self.intent.take() == Some(false) || !self.may_restart() {
                self.kill_in_engine();
                return;
            }
            self.begin_boot();
        }
        self.readiness.output(b"", now);
        self.write_state();
        self.started();
    }

    /// Tells those who wait for it that PID 1 runs, and what the console has shown until now.
    fn started(&mut self) {
        self.broadcast(&Event::Started, |_| true);
        let early = std::mem::take(&mut self.early);
        for bytes in early.chunks(PACKET - 1) {
            self.broadcast(&Event::Output(bytes.to_vec()), |client| client.awaits_start);
        }
        for client in self.clients.iter_mut().filter(|client| client.awaits_start) {
            client.awaits_start = false;
            client.is_attached = true;
        }
    }

    /// Keeps what is said before PID 1 runs.
    pub(super) fn keep_early(&mut self, bytes: &[u8]) {
        if self.clients.iter().any(|client| client.awaits_start) {
            let room = MAX_EARLY.saturating_sub(self.early.len());
            self.early
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn leader_gone(&mut self, plan: &HandOver, now: Instant) {
        self.watch = match plan.restarts_itself && self.intent != Some(false) {
            true => Watch::seek(now),
            false => Watch::Ending {
                due: now + END_TIME,
                is_forced: false,
            },
        };
    }

    /// A machine that was asked to stop, and cannot tell that it has: everything has stopped but PID 1.
    fn look_whether_alone(&mut self, now: Instant) {
        let is_mute = self.state.state == MachineState::Stopping
            && self
                .spec
                .needs
                .as_ref()
                .is_some_and(|needs| needs.uses_reboot_syscall)
            && !handed_over::has_reboot_capability(self.state.leader_pid);
        let Watch::Running(running) = &mut self.watch else {
            return;
        };
        running.due = (is_mute || running.pidfd.is_none()).then_some(now + STOP_LOOK);
        if !is_mute || !handed_over::is_alone(self.state.leader_pid) {
            running.alone_since = None;
            return;
        }
        if now.duration_since(*running.alone_since.get_or_insert(now)) >= ALONE {
            self.was_alone = true;
            let _ = running.leader.send(Signal::KILL);
        }
    }

    /// A stop was announced.
    pub(super) fn watch_stop(&mut self) {
        if let Watch::Running(running) = &mut self.watch {
            running.due = Some(Instant::now() + STOP_LOOK);
        }
    }

    /// PID 1 first, then the engine is told, then its program.
    pub(super) fn kill_in_engine(&mut self) {
        self.was_killed = true;
        let due = match &self.watch {
            Watch::Running(running) if running.leader.send(Signal::KILL).is_ok() => {
                Instant::now() + END_TIME
            }
            // There is none, as far as is known.
            Watch::Running(_) | Watch::Own | Watch::Seeking(_) | Watch::Ending { .. } => {
                Instant::now()
            }
        };
        self.watch = Watch::Ending {
            due,
            is_forced: false,
        };
    }

    /// The engine's program has ended, and so has the machine.
    pub(super) fn program_ended(&mut self, status: WaitStatus) {
        let Some(plan) = self.plan() else { return };
        let (pid, start) = (self.state.leader_pid, self.state.leader_start);
        let survivor = Leader::of_process(pid, start);
        if let Some(survivor) = &survivor {
            // The program is gone, by accident or because somebody killed it, and the machine is not.
            handed_over::end_by_force(&plan, None);
            let _ = survivor.send(Signal::KILL);
            survivor.wait_end(END_TIME);
        }
        if pid == 0 {
            self.drain();
            self.failure = Some(self.why_not_started(status));
            self.ended = Some(Status::Exited(255));
            return;
        }
        let status = match survivor {
            Some(_) => Status::Killed(9),
            None => self.status_of(&plan, status),
        };
        (self.was_killed, self.was_alone) = (false, false);
        self.leader_ended(status);
    }

    fn status_of(&self, plan: &HandOver, status: WaitStatus) -> Status {
        let code = status
            .exit_status()
            .and_then(|code| u8::try_from(code).ok());
        match code {
            _ if self.was_alone => Status::PoweredOff,
            _ if self.was_killed => Status::Killed(9),
            // 128 and the signal by which reboot(2) ends PID 1.
            Some(129) => Status::Rebooted,
            code if code.is_some() && code == plan.reboot_status => Status::Rebooted,
            Some(0 | 130) => Status::PoweredOff,
            Some(137) => Status::Killed(9),
            // Whatever it makes of it, PID 1 has done what it was asked for.
            Some(_) if self.intent.is_some() => Status::PoweredOff,
            Some(code) => Status::Exited(code),
            None => Status::Killed(
                status
                    .terminating_signal()
                    .and_then(|signal| u8::try_from(signal).ok())
                    .unwrap_or(0),
            ),
        }
    }

    /// Why PID 1 was never seen, with what the program had to say.
    fn why_not_started(&self, status: WaitStatus) -> String {
        /// So many lines tell it.
        const LINES: usize = 8;
        let text = String::from_utf8_lossy(&self.early);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
            .filter(|line| !line.trim().is_empty())
            .collect();
        let said = lines[lines.len().saturating_sub(LINES)..].join("\n");
        let how = match (status.exit_status(), self.was_killed) {
            (_, true) => "did not start the machine in time".to_owned(),
            (Some(code), _) => format!("ended with status {code} before the machine ran"),
            (None, _) => "was killed before the machine ran".to_owned(),
        };
        let program = self
            .spec
            .hand_over
            .as_ref()
            .and_then(|plan| plan.start.argv.first())
            .cloned()
            .unwrap_or_default();
        match said.is_empty() {
            true => format!("{program} {how}"),
            false => format!("{program} {how}: {said}"),
        }
    }
}
