//! The supervisor: one small process per machine, the parent of its PID 1.
//!
//! It holds the console and idle terminals, keeps the log, sees readiness, shows the console to clients, restarts the
//! machine when it reboots, and removes everything when it ends. It draws no conclusions about distributions: all of
//! that is in the boot spec.

mod clients;
mod clock;
mod console;
mod log;
mod oom;
mod prompt;
mod readiness;

use crate::cgroup::MachineCgroups;
use crate::dirs::Dirs;
use crate::error::{At, Result};
use crate::launch::{Launched, Prepared, launch};
use crate::protocol::{self, Event, NOTIFY, PACKET};
use crate::registry::{self, LastRun};
use crate::step::Inputs;
use clients::Client;
pub(crate) use clock::{now_s, timespec};
use console::Console;
use log::ConsoleLog;
use oom::OomWatch;
use readiness::{Decision, Readiness};
use repot_model::{
    BootSpec, MachineState, Overlay, Ready, ReadySign, RuntimeState, STATE_VERSION, Status,
    TerminalRole,
};
use repot_sys::SignalSet;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::termios::Winsize;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Instant;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;

/// A machine that restarts this often within [`FAST`] of its start is stopped.
const MAX_FAST_REBOOTS: u32 = 5;
const FAST: std::time::Duration = std::time::Duration::from_secs(2);

/// Supervises one machine from its start to its end, and holds its locks so long.
///
/// # Errors
/// The machine could not be started. The same was told to `starter`.
pub fn supervise(dirs: &Dirs, spec: BootSpec, locks: Vec<OwnedFd>, starter: OwnedFd) -> Result<()> {
    let dir = dirs.running(&spec.name);
    match Supervisor::start(dirs, spec) {
        Ok(mut supervisor) => {
            supervisor.clients.push(Client {
                socket: starter,
                // It will show the console or wait; what comes before it asks must not be lost.
                is_attached: true,
                awaits_ready: false,
                has_typed: false,
                has_announced: false,
            });
            supervisor.broadcast(&Event::Started, |_| true);
            supervisor.serve();
            supervisor.finish(locks);
            Ok(())
        }
        Err(error) => {
            let _ = std::fs::remove_dir_all(dir);
            let _ = protocol::post(&starter, &Event::Failed(chain(&error)).encode());
            Err(error)
        }
    }
}

#[derive(Debug)]
struct Supervisor<'a> {
    dirs: &'a Dirs,
    spec: BootSpec,
    prepared: Prepared,
    cgroups: MachineCgroups,
    machine: Launched,
    consoles: Vec<Console>,
    size: Option<Winsize>,
    clients: Vec<Client>,
    listener: OwnedFd,
    notify: OwnedFd,
    signals: OwnedFd,
    log: ConsoleLog,
    readiness: Readiness,
    oom: OomWatch,
    state: RuntimeState,
    booted: Instant,
    /// What a command has announced: the next end of PID 1 is a reboot (`true`) or a power-off (`false`).
    intent: Option<bool>,
    fast_reboots: u32,
    /// Something happened that a waiting supervisor has no use for any more: a start, a client.
    is_heavy: bool,
    login: Option<std::process::Child>,
    ended: Option<Status>,
}

impl<'a> Supervisor<'a> {
    fn start(dirs: &'a Dirs, spec: BootSpec) -> Result<Self> {
        let dir = dirs.running(&spec.name);
        registry::make_private_dir(&dir)?;
        let set = SignalSet::of(&[SIGHUP, SIGINT, SIGTERM, SIGCHLD]);
        repot_sys::block_signals(&set)?;
        let signals = repot_sys::signal_fd(&set)?;
        let listener = protocol::bound(&dir, protocol::CONTROL, SocketType::SEQPACKET, 0o600)?;
        rustix::net::listen(&listener, 16).at("listening on", dir.join(protocol::CONTROL))?;
        let notify = protocol::bound(&dir, NOTIFY, SocketType::DGRAM, 0o666)?;
        rustix::net::sockopt::set_socket_passcred(&notify, true)
            .at("setting up", dir.join(NOTIFY))?;
        let uses_notify = spec
            .needs
            .as_ref()
            .is_some_and(|needs| needs.ready == ReadySign::Notify);
        let inputs = Inputs {
            staging: dir.clone(),
            notify_socket: uses_notify.then(|| dir.join(NOTIFY)),
            host_os_release: std::fs::read_to_string("/etc/os-release")
                .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
                .unwrap_or_default(),
            bind_is_dir: spec
                .binds
                .iter()
                .map(|bind| bind.host_path.is_dir())
                .collect(),
        };
        let prepared = Prepared::new(&spec, &inputs)?.with_lasting_writes(&spec.root.overlay);
        let log_dir = if spec.root.overlay == Overlay::Ephemeral {
            dir.clone()
        } else {
            dirs.machine(&spec.name)
        };
        registry::make_private_dir(&log_dir)?;
        let supervisor_start =
            registry::start_time(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0);
        let mut state = RuntimeState {
            version: STATE_VERSION,
            supervisor_pid: rustix::process::getpid().as_raw_nonzero().get(),
            supervisor_start,
            leader_pid: 0,
            leader_start: 0,
            state: MachineState::Starting,
            ready: None,
            booted_s: now_s(),
            boots: 1,
            oom_kills: 0,
            warnings: Vec::new(),
            spec: spec.clone(),
        };
        // Written before anything is started: after a crash, the next command knows what to look for.
        registry::write_json(&dir.join("state.json"), &state)?;
        if let Some(path) = &spec.cgroup.path {
            registry::cgroup_leftovers(path)?;
        }
        let started = MachineCgroups::create(&spec).and_then(|cgroups| {
            match launch(&spec, &prepared, &cgroups) {
                Ok(machine) => Ok((cgroups, machine)),
                Err(error) => {
                    let _ = cgroups.remove();
                    Err(error)
                }
            }
        });
        let (cgroups, mut machine) = started?;
        note_leader(&mut state, &machine);
        registry::write_json(&dir.join("state.json"), &state)?;
        let booted = Instant::now();
        let consoles = console::take(&mut machine, &spec, None);
        Ok(Self {
            dirs,
            readiness: readiness_of(&spec, booted),
            log: ConsoleLog::start(&log_dir),
            oom: OomWatch::new(&cgroups),
            spec,
            prepared,
            cgroups,
            machine,
            consoles,
            size: None,
            clients: Vec::new(),
            listener,
            notify,
            signals,
            state,
            booted,
            intent: None,
            fast_reboots: 0,
            is_heavy: true,
            login: None,
            ended: None,
        })
    }

    /// The loop: until PID 1 has ended for good.
    fn serve(&mut self) {
        while self.ended.is_none() {
            let timeout = self.decide().into_iter().chain(self.oom.due()).min();
            let mut fds = vec![
                poll_in(&self.signals),
                poll_in(&self.listener),
                poll_in(&self.notify),
            ];
            let stand_in = &self.signals;
            fds.extend(self.consoles.iter().map(|console| console.poll(stand_in)));
            let is_full = self.consoles.first().is_some_and(Console::is_full);
            fds.extend(self.clients.iter().map(|client| client.poll(is_full)));
            fds.push(self.oom.poll(stand_in));
            if timeout.is_none() && self.is_heavy {
                // From here on it waits, for days maybe, and with many others like it.
                self.is_heavy = false;
                repot_sys::forget_program_pages();
            }
            let until = timeout.map(|at| timespec(at.saturating_duration_since(Instant::now())));
            if let Err(errno) = rustix::event::poll(&mut fds, until.as_ref()) {
                if errno != Errno::INTR {
                    // Nothing can be waited for any more, which leaves only an orderly end.
                    self.kill();
                }
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let (consoles, clients) = (self.consoles.len(), self.clients.len());
            // Before the consoles: who asked to see one sees what it shows next.
            let mut gone: Vec<usize> = (0..clients)
                .filter(|number| ready[3 + consoles + number] && !self.serve_client(*number))
                .collect();
            while let Some(number) = gone.pop() {
                let client = self.clients.remove(number);
                self.is_heavy = true;
                self.withdraw(&client);
            }
            for number in (0..consoles).filter(|number| ready[3 + number]) {
                self.read_console(number);
            }
            if ready[1] {
                self.accept();
            }
            if ready[2] {
                self.read_notify();
            }
            self.look_for_kills(ready.last() == Some(&true));
            // Last, since the end of PID 1 changes everything else.
            if ready[0] {
                self.take_signals();
            }
        }
    }

    /// Readiness and the offer of a login; the time to look again.
    fn decide(&mut self) -> Option<Instant> {
        loop {
            let master = self.consoles.first().map(|console| &console.master);
            let leader = self.machine.pid;
            // An init that opened the console carelessly has it as controlling terminal, but does not serve it.
            let is_served = || {
                let session = master.map(rustix::termios::tcgetsid);
                session.is_none_or(|session| {
                    session.is_ok_and(|session| session.as_raw_nonzero().get() != leader)
                })
            };
            match self.readiness.decide(Instant::now(), is_served) {
                Decision::Wait(until) => return until,
                Decision::Ready(ready) => self.became_ready(ready),
                Decision::OfferLogin => self.offer_login(),
            }
        }
    }

    fn became_ready(&mut self, ready: Ready) {
        if self.state.state == MachineState::Starting {
            self.state.state = MachineState::Running;
        }
        self.state.ready = Some(ready.clone());
        self.write_state();
        self.broadcast(&Event::Ready(ready), |client| client.awaits_ready);
        self.clients
            .iter_mut()
            .for_each(|client| client.awaits_ready = false);
    }

    /// Nobody answers on the console: a process of ours enters the machine and runs its getty or login there.
    fn offer_login(&mut self) {
        let slave = self
            .consoles
            .first()
            .and_then(|console| console.slave.as_ref());
        let stdin = slave.and_then(|slave| slave.try_clone().ok());
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["console-login", self.spec.name.as_str()])
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.login = command.spawn().ok();
    }

    fn write_state(&self) {
        // A full /run must not stop a machine; the state in memory stays right.
        let _ = registry::write_json(
            &self.dirs.running(&self.spec.name).join("state.json"),
            &self.state,
        );
    }

    /// Reads from a terminal; `false` if nothing was there.
    fn read_console(&mut self, number: usize) -> bool {
        let mut buffer = [0u8; PACKET - 1];
        let console = &mut self.consoles[number];
        console.write(&[]);
        let role = console.role;
        let Some(bytes) = console.read(&mut buffer) else {
            return false;
        };
        if role == TerminalRole::Idle {
            return true;
        }
        self.log.append(bytes);
        self.readiness.output(bytes, Instant::now());
        let event = Event::Output(bytes.to_vec());
        self.broadcast(&event, |client| client.is_attached);
        true
    }

    fn read_notify(&mut self) {
        let mut bytes = [0u8; 4096];
        // So many at a time: whoever floods the socket must not keep the rest waiting.
        for _ in 0..16 {
            let Some((length, pid)) = protocol::receive_with_pid(&self.notify, &mut bytes) else {
                break;
            };
            // Anybody in the machine may write to the socket; only PID 1 speaks for it.
            if pid == self.machine.pid
                && bytes[..length]
                    .split(|byte| *byte == b'\n')
                    .any(|line| line == b"READY=1")
            {
                self.readiness.notify();
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = repot_sys::take_signal(&self.signals) {
            match signal {
                SIGCHLD => self.reap(),
                // The host shuts down, or an administrator wants the machine gone: ask its init first.
                SIGTERM | SIGINT if self.intent.is_none() => {
                    self.intent = Some(false);
                    let spawned = Command::new("/proc/self/exe")
                        .args(["stop", self.spec.name.as_str()])
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .spawn();
                    if spawned.is_err() {
                        self.kill();
                    }
                }
                SIGTERM | SIGINT => {
                    self.intent = Some(false);
                    self.kill();
                }
                _ => {}
            }
        }
    }

    fn kill(&self) {
        let _ =
            repot_sys::send_signal(&self.machine.pidfd, self.machine.pid, Signal::KILL.as_raw());
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == Pid::from_raw(self.machine.pid) {
                self.leader_ended(match (status.exit_status(), status.terminating_signal()) {
                    (Some(0), _) | (_, Some(SIGINT)) => Status::PoweredOff,
                    (_, Some(SIGHUP)) => Status::Rebooted,
                    (Some(code), _) => Status::Exited(u8::try_from(code).unwrap_or(255)),
                    (_, signal) => Status::Killed(u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
                });
            } else if self
                .login
                .as_ref()
                .is_some_and(|login| i64::from(login.id()) == i64::from(pid.as_raw_nonzero().get()))
            {
                self.login = None;
            }
        }
    }

    /// PID 1 has ended: the kernel has killed everything else in the machine.
    fn leader_ended(&mut self, status: Status) {
        for number in 0..self.consoles.len() {
            // What it said last is still in the ptys.
            for _ in 0..64 {
                if !self.read_console(number) {
                    break;
                }
            }
        }
        self.report_kills();
        let restarts = self.intent.take().unwrap_or(status == Status::Rebooted);
        self.fast_reboots = if self.booted.elapsed() < FAST {
            self.fast_reboots + 1
        } else {
            0
        };
        if !restarts || self.fast_reboots >= MAX_FAST_REBOOTS {
            self.ended = Some(status);
            return;
        }
        self.broadcast(&Event::Rebooting, |_| true);
        if let Err(error) = self.relaunch() {
            self.broadcast(&Event::Failed(chain(&error)), |_| true);
            self.ended = Some(status);
        }
    }

    fn relaunch(&mut self) -> Result<()> {
        self.cgroups.remove()?;
        self.cgroups = MachineCgroups::create(&self.spec)?;
        self.oom = OomWatch::new(&self.cgroups);
        self.machine = launch(&self.spec, &self.prepared, &self.cgroups)?;
        self.consoles = console::take(&mut self.machine, &self.spec, self.size);
        self.booted = Instant::now();
        self.readiness = readiness_of(&self.spec, self.booted);
        note_leader(&mut self.state, &self.machine);
        self.state.state = MachineState::Starting;
        self.state.ready = None;
        self.state.booted_s = now_s();
        self.state.boots += 1;
        self.write_state();
        self.broadcast(&Event::Started, |_| true);
        Ok(())
    }

    /// Removes what the machine used, then tells everybody.
    fn finish(mut self, locks: Vec<OwnedFd>) {
        let status = self.ended.unwrap_or(Status::Killed(9));
        self.consoles.clear();
        let _ = self.cgroups.remove();
        let kept = self.dirs.machine(&self.spec.name);
        if self.spec.root.overlay == Overlay::Ephemeral {
            registry::forget_ephemeral(self.dirs, &self.spec.name);
        } else {
            let _ = registry::write_json(
                &kept.join("last.json"),
                &LastRun {
                    status,
                    ended_s: now_s(),
                    oom_kills: self.state.oom_kills,
                },
            );
        }
        let _ = std::fs::remove_dir_all(self.dirs.running(&self.spec.name));
        // Whoever hears of the end may start the next one.
        drop(locks);
        self.broadcast(&Event::Ended(status), |_| true);
    }
}

/// An error with its causes, as one text.
fn chain(error: &crate::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn readiness_of(spec: &BootSpec, now: Instant) -> Readiness {
    let sign = spec
        .needs
        .as_ref()
        .map_or(ReadySign::Prompt, |needs| needs.ready);
    Readiness::new(sign, spec.needs.is_some(), !spec.console_login, now)
}

fn note_leader(state: &mut RuntimeState, machine: &Launched) {
    state.leader_pid = machine.pid;
    state.leader_start = registry::start_time(machine.pid).unwrap_or(0);
    state.warnings.clone_from(&machine.warnings);
}

fn poll_in(fd: &OwnedFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)
}
