//! The supervisor: one small process per machine, the parent of its PID 1.
//!
//! It holds the console and idle terminals, keeps the log, sees readiness, shows the console to clients, restarts the
//! machine when it reboots, and removes everything when it ends. All about the distribution is in the boot spec.

mod clients;
mod clock;
mod console;
mod engine;
mod life;
mod log;
mod oom;
mod prompt;
mod readiness;
mod state;

use crate::cgroup::MachineCgroups;
use crate::dirs::Dirs;
use crate::error::{At, Result};
use crate::handed_over::{self, HandedOver};
use crate::launch::{Launched, Prepared, launch};
use crate::pins::Pins;
use crate::protocol::{self, Event, NOTIFY, PACKET};
use crate::registry;
use crate::step::{Inputs, RootBy};
use clients::Client;
pub(crate) use clock::{now_s, timespec};
use console::Console;
use engine::Watch;
use life::{chain, note_leader, readiness_of};
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
use rustix::termios::Winsize;
use state::{STATE, keep_spare};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
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
                is_attached: supervisor.watch.is_own(),
                awaits_start: !supervisor.watch.is_own(),
                awaits_ready: false,
                has_typed: false,
                has_announced: false,
            });
            if supervisor.watch.is_own() {
                supervisor.broadcast(&Event::Started, |_| true);
            }
            supervisor.serve();
            supervisor.finish(locks);
            Ok(())
        }
        Err(error) => {
            let _ = handed_over::remove_run_dir(&dir);
            let _ = protocol::post(&starter, &Event::Failed(chain(&error)).encode());
            Err(error)
        }
    }
}

/// By what a machine is started, at its first boot and after each reboot.
#[derive(Debug)]
enum Launcher {
    Native(Box<Prepared>),
    Engine(Box<HandedOver>),
}

impl Launcher {
    fn launch(&self, spec: &BootSpec, cgroups: &MachineCgroups) -> Result<Launched> {
        match self {
            Self::Native(prepared) => launch(spec, prepared, cgroups),
            Self::Engine(engine) => engine.launch(cgroups, None),
        }
    }
}

#[derive(Debug)]
struct Supervisor<'a> {
    dirs: &'a Dirs,
    spec: BootSpec,
    launcher: Launcher,
    cgroups: MachineCgroups,
    _pins: Pins,
    /// What this process is the parent of: PID 1, or an engine's program.
    machine: Launched,
    watch: Watch,
    /// What the console has shown before PID 1 was seen, for the command that waits for that.
    early: Vec<u8>,
    /// PID 1 was killed because nothing else was left of a machine that was to stop; the machine was killed.
    was_alone: bool,
    was_killed: bool,
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
    /// Why an engine did not start it, or what it could not go on without, to be told once nothing of it is left.
    failure: Option<String>,
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
        // Before this process is in a mount namespace of its own.
        let pins = Pins::of(&spec);
        let launcher = launcher(&spec, &dir)?;
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
            file_server: None,
            spec: spec.clone(),
        };
        // Written before anything is started: after a crash, the next command knows what to look for.
        registry::write_json(&dir.join(STATE), &state)?;
        if let Some(path) = &spec.cgroup.path {
            registry::cgroup_leftovers(path)?;
        }
        let started = MachineCgroups::create(&spec).and_then(|cgroups| {
            match launcher.launch(&spec, &cgroups) {
                Ok(machine) => Ok((cgroups, machine)),
                Err(error) => {
                    let _ = cgroups.remove();
                    Err(error)
                }
            }
        });
        let (cgroups, mut machine) = started?;
        note_leader(&mut state, &launcher, &machine);
        registry::write_json(&dir.join(STATE), &state)?;
        keep_spare(&dir);
        let booted = Instant::now();
        let consoles = console::take(&mut machine, &spec, None);
        Ok(Self {
            dirs,
            readiness: readiness_of(&spec, booted),
            log: ConsoleLog::start(&log_dir),
            oom: OomWatch::new(&cgroups),
            spec,
            watch: Watch::of(&launcher, booted),
            launcher,
            cgroups,
            _pins: pins,
            machine,
            early: Vec::new(),
            was_alone: false,
            was_killed: false,
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
            failure: None,
        })
    }

    /// The loop: until PID 1 has ended for good.
    fn serve(&mut self) {
        while self.ended.is_none() {
            let dues = [self.decide(), self.oom.due(), self.watch.due()];
            let timeout = dues.into_iter().flatten().min();
            let mut fds = vec![
                poll_in(&self.signals),
                poll_in(&self.listener),
                poll_in(&self.notify),
            ];
            let stand_in = &self.signals;
            fds.extend(self.consoles.iter().map(|console| console.poll(stand_in)));
            let is_full = self.consoles.first().is_some_and(Console::is_full);
            fds.extend(self.clients.iter().map(|client| client.poll(is_full)));
            fds.push(self.watch.poll(stand_in));
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
            self.follow_engine(ready.get(ready.len() - 2) == Some(&true));
            // Last, since the end of PID 1 changes everything else.
            if ready[0] {
                self.take_signals();
            }
        }
    }

    /// Readiness and the offer of a login; the time to look again.
    fn decide(&mut self) -> Option<Instant> {
        if self.watch.is_seeking() {
            return None;
        }
        loop {
            let master = self.consoles.first().map(|console| &console.master);
            let leader = self.state.leader_pid;
            // An init that opened the console carelessly has it as controlling terminal, but does not serve it.
            let is_engine = self.spec.hand_over.is_some();
            let is_served = || {
                if is_engine {
                    return handed_over::serves_console(leader);
                }
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
        // In an engine, the machine's console is another terminal than ours, which is the engine's.
        let slave = self
            .consoles
            .first()
            .filter(|_| self.spec.hand_over.is_none())
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
        // Kept apart: the buffer is not of the machine.
        let bytes = bytes.to_vec();
        self.keep_early(&bytes);
        let event = Event::Output(bytes);
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
            if pid == self.state.leader_pid
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
}

/// What is made once and used for every boot.
fn launcher(spec: &BootSpec, dir: &Path) -> Result<Launcher> {
    if let Some(plan) = &spec.hand_over {
        let engine = HandedOver::prepare(plan, spec, dir)?;
        return Ok(Launcher::Engine(Box::new(engine)));
    }
    let uses_notify = spec
        .needs
        .as_ref()
        .is_some_and(|needs| needs.ready == ReadySign::Notify);
    let inputs = Inputs {
        staging: dir.to_owned(),
        notify_socket: uses_notify.then(|| dir.join(NOTIFY)),
        host_os_release: std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default(),
        bind_is_dir: spec
            .binds
            .iter()
            .map(|bind| bind.host_path.is_dir())
            .collect(),
        root_by: RootBy::default(),
    };
    let prepared = Prepared::new(spec, &inputs)?.with_lasting_writes(&spec.root.overlay);
    Ok(Launcher::Native(Box::new(prepared)))
}

fn poll_in(fd: &OwnedFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)
}
