//! The way into a running machine: a process of ours enters the namespaces and cgroups of its PID 1, takes the machine's
//! capabilities and system-call filter upon itself, and executes a program there. No D-Bus, no cooperation of the init.

use crate::cgroup;
use crate::error::{At, Error, Result};
use crate::leader::Leader;
use crate::pty::{new_pty, open_terminal};
use crate::seccomp;
use crate::stdio::Stdio;
use crate::step::{Report, capability_set};
use repot_model::{IdMap, Network, RuntimeState};
use repot_sys::{Cloned, Instruction, Namespaces, clone_process};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::net::SendFlags;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::CapabilitySet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// What to run in a machine.
#[derive(Debug)]
pub struct Join {
    /// argv; its first is looked up in `PATH` of `env` if it holds no slash and `program` is not given.
    pub argv: Vec<String>,
    /// The program, if it is not `argv[0]` (a login shell is called `-bash`).
    pub program: Option<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// Whether `/` will do if it cannot be entered: a home directory may be missing.
    pub cwd_or_root: bool,
    /// User ID in the machine.
    pub uid: u32,
    /// Primary group ID in the machine.
    pub gid: u32,
    /// Further group IDs in the machine.
    pub groups: Vec<u32>,
    /// Standard input, output and error.
    pub stdio: JoinStdio,
}

/// Standard input, output and error of what runs in a machine.
///
/// A terminal of the host is never handed in: a program could push keys into it (TIOCSTI) or read what its user types.
#[derive(Debug)]
pub enum JoinStdio {
    /// These three.
    Files(Stdio),
    /// A new pty from the machine's devpts, as controlling terminal; standard error may go elsewhere.
    Pty {
        /// Instead of the pty.
        stderr: Option<OwnedFd>,
        /// A name below `/dev` under which the machine sees it as long as the program runs, such as `tty12`, for login
        /// programs that let root in on terminals of certain names only (securetty(5)). Without one, `pts/N`.
        name: Option<String>,
    },
    /// The machine's console, as controlling terminal.
    Console,
}

/// A program that runs in a machine.
#[derive(Debug)]
pub struct Joined {
    pid: Pid,
    pidfd: OwnedFd,
    /// The master of its pty, for [`JoinStdio::Pty`].
    pub master: Option<OwnedFd>,
}

/// How long a process may take to enter a machine. A machine can freeze the cgroup that its first process is in.
const ENTRY_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// What is prepared before the fork.
struct Prepared {
    argv: Vec<CString>,
    program: Option<CString>,
    env: Vec<CString>,
    cwd: CString,
    groups: Vec<Gid>,
    /// The further name of the pty, as a path.
    tty: Option<CString>,
    /// Whether the console may have to be taken away from PID 1 first: an engine's, which only the machine can open.
    takes_console: bool,
    filters: Vec<Vec<Instruction>>,
    keep: CapabilitySet,
}

/// Runs a program in a machine.
///
/// # Errors
/// The machine has ended, its namespaces cannot be entered, or the program cannot be executed.
pub fn join(state: &RuntimeState, join: &Join) -> Result<Joined> {
    let leader = Leader::of(state)?;
    if let Some(dir) = cgroup::frozen(state.leader_pid) {
        return Err(Error::Frozen {
            name: state.spec.name.clone(),
            dir,
        });
    }
    let namespaces = match state.spec.hand_over {
        // The caller may be in the user namespace already: [`crate::file_server::reach_files`].
        None if state.file_server.is_none() => leader.namespaces(namespaces_of(state))?,
        None | Some(_) => leader.foreign_namespaces()?,
    };
    let prepared = prepare(state, &leader, join)?;
    let cgroups = cgroup::procs_files_of(state.leader_pid);
    let (ours, theirs) = crate::protocol::socket_pair()?;
    let (pid, pidfd) = match clone_process(Namespaces::NONE)? {
        Cloned::Child => {
            drop(ours);
            for file in &cgroups {
                // "0" is whoever writes it. A hierarchy where the machine hands controllers down is left alone.
                let _ = rustix::io::write(file, b"0");
            }
            middle(join, &prepared, &namespaces, &theirs)
        }
        Cloned::Parent { pid, pidfd } => {
            let pid = Pid::from_raw(pid);
            let gone = || Error::NotRunning(state.spec.name.clone());
            (pid.ok_or_else(gone)?, pidfd)
        }
    };
    drop((theirs, namespaces, cgroups));
    let mut joined = Joined {
        pid,
        pidfd,
        master: None,
    };
    match follow(&ours, &mut joined) {
        Err((_, Errno::TIMEDOUT)) => {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            // Else it would die only when its cgroup thaws.
            cgroup::rescue(pid);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            Err(Error::Supervisor(format!(
                "{} lets no process in: its cgroup may be frozen",
                state.spec.name
            )))
        }
        Ok(()) => Ok(joined),
        Err((AT_TERMINAL, errno)) => {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            Err(Error::NoTerminal {
                name: state.spec.name.clone(),
                errno,
            })
        }
        Err((_, errno)) => {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            let program = join
                .program
                .as_ref()
                .or(join.argv.first())
                .cloned()
                .unwrap_or_default();
            Err(Error::Exec { program, errno })
        }
    }
}

fn prepare(state: &RuntimeState, leader: &Leader, join: &Join) -> Result<Prepared> {
    let invalid = |error: std::ffi::NulError| Error::Invalid {
        what: "argument or variable".into(),
        why: error.to_string(),
    };
    let cstrings = |texts: Vec<String>| {
        texts
            .into_iter()
            .map(CString::new)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(invalid)
    };
    Ok(Prepared {
        argv: cstrings(join.argv.clone())?,
        program: join
            .program
            .clone()
            .map(CString::new)
            .transpose()
            .map_err(invalid)?,
        env: cstrings(
            join.env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        )?,
        cwd: CString::new(join.cwd.as_str()).map_err(invalid)?,
        groups: join.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
        tty: match &join.stdio {
            JoinStdio::Pty {
                name: Some(name), ..
            } => Some(CString::new(format!("/dev/{name}")).map_err(invalid)?),
            JoinStdio::Pty { .. } | JoinStdio::Files(_) | JoinStdio::Console => None,
        },
        takes_console: state.spec.hand_over.is_some(),
        filters: match state.spec.hand_over {
            None => seccomp::filters(&state.spec.seccomp, &state.spec.capabilities)?,
            // An engine's filter cannot be read, and ours may be stricter than what its machine needs.
            Some(_) => Vec::new(),
        },
        keep: match state.spec.hand_over {
            None => capability_set(&state.spec.capabilities)?,
            Some(_) => leader
                .capability_bound()
                .ok_or_else(|| Error::NotRunning(state.spec.name.clone()))?,
        },
    })
}

/// Steps of a join that failed, as reported: namespaces, a process in them, a terminal, the rest.
const AT_NAMESPACES: usize = 0;
const AT_PROCESS: usize = 1;
const AT_TERMINAL: usize = 2;
const AT_PROGRAM: usize = 3;

/// Reads the reports until the program runs.
fn follow(socket: &OwnedFd, joined: &mut Joined) -> std::result::Result<(), (usize, Errno)> {
    let failed = |step, errno| Err((step, Errno::from_raw_os_error(errno)));
    loop {
        let mut bytes = [0u8; 16];
        if !crate::start::readable(socket, Some(ENTRY_TIME)).unwrap_or(false) {
            return Err((AT_NAMESPACES, Errno::TIMEDOUT));
        }
        let (length, mut fds) =
            crate::launch::receive(socket, &mut bytes).map_err(|_| (AT_PROGRAM, Errno::IO))?;
        if length == 0 {
            return Ok(());
        }
        match Report::decode(&bytes[..length]) {
            Some(Report::Terminal) => joined.master = fds.pop(),
            Some(Report::Warning { .. } | Report::Served) => {}
            Some(Report::Failed { step, errno }) => return failed(step, errno),
            Some(Report::NoExec { errno }) => return failed(AT_PROGRAM, errno),
            None => return Err((AT_PROGRAM, Errno::PROTO)),
        }
    }
}

fn report(socket: &OwnedFd, report: Report) {
    let _ = rustix::net::send(socket, &report.encode(), SendFlags::NOSIGNAL);
}

/// The namespaces that a machine has of its own.
fn namespaces_of(state: &RuntimeState) -> Namespaces {
    let mut kinds = Namespaces::PID
        | Namespaces::MOUNT
        | Namespaces::UTS
        | Namespaces::IPC
        | Namespaces::CGROUP;
    if !matches!(state.spec.idmap, IdMap::Host { .. }) {
        kinds = kinds | Namespaces::USER;
    }
    if state.spec.network == Network::None {
        kinds = kinds | Namespaces::NET;
    }
    kinds
}

/// The process between: enters the namespaces, starts the program (a PID namespace takes effect for children only,
/// pid_namespaces(7)), waits for it, ends with its status.
fn middle(join: &Join, prepared: &Prepared, namespaces: &[OwnedFd], socket: &OwnedFd) -> ! {
    // What runs in the machine must not reach this process, which is from outside: neither by ptrace nor by /proc/PID.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = repot_sys::cloexec_from(3);
    // Listed here: the machine's /proc, if it has one, does not know this process, and is the machine's to fill.
    let entered = repot_sys::open_descriptors(0)
        .map_err(|error| (AT_NAMESPACES, error.errno))
        .and_then(|opened| {
            for namespace in namespaces {
                rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
                    .map_err(|errno| (AT_NAMESPACES, errno))?;
            }
            Ok(opened)
        });
    // The change of user namespace may have cleared it (prctl(2)).
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let child = entered.and_then(|opened| {
        let cloned = clone_process(Namespaces::NONE).map_err(|error| (AT_PROCESS, error.errno))?;
        Ok((opened, cloned))
    });
    match child {
        Err((step, errno)) => {
            report(
                socket,
                Report::Failed {
                    step,
                    errno: errno.raw_os_error(),
                },
            );
            repot_sys::exit_now(126)
        }
        Ok((_, Cloned::Child)) => {
            let errno = program(join, prepared, socket);
            report(
                socket,
                Report::NoExec {
                    errno: errno.raw_os_error(),
                },
            );
            repot_sys::exit_now(127)
        }
        Ok((opened, Cloned::Parent { pid, .. })) => {
            // Only the program's copy of the socket counts from here on, and only the program holds the caller's files.
            repot_sys::close_each(&opened);
            let code = wait_for(pid);
            if let Some(tty) = prepared.tty.as_deref() {
                // This process is in the machine's mount namespace. A name that was covered is still a mount point and
                // stays.
                let _ = rustix::mount::unmount(tty, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
                let _ = rustix::fs::unlink(tty);
            }
            repot_sys::exit_now(code)
        }
    }
}

fn wait_for(pid: i32) -> u8 {
    loop {
        match rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => return u8::try_from(code).unwrap_or(255),
                (_, Some(signal)) => return u8::try_from(128 + signal).unwrap_or(255),
                _ => {}
            },
            Err(Errno::INTR) | Ok(None) => {}
            Err(_) => return 255,
        }
    }
}

/// The process in the machine. Returns an errno only on failure.
fn program(join: &Join, prepared: &Prepared, socket: &OwnedFd) -> Errno {
    match settle(join, prepared, socket) {
        Err(errno) => errno,
        Ok(()) => match &prepared.program {
            Some(program) => repot_sys::exec(program, &prepared.argv, &prepared.env).errno,
            None => crate::stub::exec_in_path(&prepared.argv, &prepared.env),
        },
    }
}

fn settle(join: &Join, prepared: &Prepared, socket: &OwnedFd) -> std::result::Result<(), Errno> {
    let _ = repot_sys::new_session_keyring();
    // In a user namespace the caller is nobody until it says who it is.
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match &join.stdio {
        JoinStdio::Files(stdio) => stdio.install()?,
        JoinStdio::Pty { stderr, .. } => {
            let pty = new_pty(socket, prepared.tty.as_deref()).inspect_err(|errno| {
                let errno = errno.raw_os_error();
                report(
                    socket,
                    Report::Failed {
                        step: AT_TERMINAL,
                        errno,
                    },
                );
            });
            control(&pty?)?;
            if let Some(stderr) = stderr {
                rustix::stdio::dup2_stderr(stderr)?;
            }
        }
        JoinStdio::Console => {
            control(&open_terminal(c"/dev/console")?)?;
            if prepared.takes_console {
                // Where that is not permitted, the login does without job control.
                let _ = repot_sys::take_terminal(rustix::stdio::stdin());
            }
        }
    }
    for filter in &prepared.filters {
        repot_sys::install_filter(filter).map_err(|error| error.errno)?;
    }
    crate::step::keep_capabilities(prepared.keep)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Always: the caller's groups are of the host.
    rustix::thread::set_thread_groups(&prepared.groups)?;
    if join.uid != 0 || join.gid != 0 {
        let (uid, gid) = (Uid::from_raw(join.uid), Gid::from_raw(join.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    match enter(&prepared.cwd) {
        Err(_) if join.cwd_or_root => rustix::process::chdir(c"/")?,
        other => other?,
    }
    repot_sys::reset_signals();
    Ok(())
}

/// Changes the working directory, which a tree's passwd(5) may name. `/proc/self/fd/N` would lead through a descriptor of this
/// process to a directory of the host (CVE-2024-21626); what lies outside of the root has a path that says so (getcwd(3)).
fn enter(dir: &CStr) -> std::result::Result<(), Errno> {
    rustix::process::chdir(dir)?;
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(_) => {
            rustix::process::chdir(c"/")?;
            Err(Errno::XDEV)
        }
    }
}

/// Takes the console, which is this process' standard input, away from whatever session has it.
pub fn free_console() {
    if let Ok(console) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        let _ = repot_sys::free_terminal(&console);
    }
}

/// Makes a terminal the controlling one of a new session, and standard input, output and error. A console that belongs to
/// another session is used without.
fn control(terminal: &OwnedFd) -> std::result::Result<(), Errno> {
    rustix::process::setsid()?;
    match rustix::process::ioctl_tiocsctty(terminal) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    rustix::stdio::dup2_stdin(terminal)?;
    rustix::stdio::dup2_stdout(terminal)?;
    rustix::stdio::dup2_stderr(terminal)
}

impl Joined {
    /// A pidfd that becomes readable when the program has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// As [`Self::wait`], but only so long. `None`: it still runs, and is left alone.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(self, timeout: std::time::Duration) -> Result<Option<u8>> {
        if !crate::start::readable(&self.pidfd, Some(timeout))? {
            return Ok(None);
        }
        self.wait().map(Some)
    }

    /// Waits for the program; its exit status, or 128 plus the number of the signal that ended it.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn wait(self) -> Result<u8> {
        let (_, status) = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(Some(self.pid), WaitOptions::empty())
        })
        .at("waiting for", "the program in the machine")?
        .ok_or_else(|| {
            Error::Supervisor("the program in the machine cannot be waited for".into())
        })?;
        let code = status
            .exit_status()
            .or(status.terminating_signal().map(|signal| 128 + signal))
            .unwrap_or(255);
        Ok(u8::try_from(code).unwrap_or(255))
    }
}
