//! fuse-overlayfs in place of the kernel's overlay, for users without root whose kernel or file system has none for them.
//!
//! It runs outside of the machine, as a child of whoever supervises it and in that one's user namespace, whose IDs are the
//! machine's. The machine's first process opens `/dev/fuse`, mounts, and hands the device over (`step/run.rs`); what serves it
//! has a mount namespace of its own, where the layers have short names. With its last mount the file system ends, and with that the
//! server by itself; it dies with its parent; a machine whose server has died cannot go on. ADR 0014.

use crate::error::{At, Error, Result};
use crate::idmap;
use crate::launch::{in_words, receive};
use crate::leader::Leader;
use crate::protocol::socket_pair;
use crate::registry;
use crate::rootless::is_in_path;
use crate::step::{Context, Report, Step, keep_capabilities, serving_steps};
use crate::stub::exec_in_path;
use repot_model::{BootSpec, IdMap, Overlay, ProcessId, RuntimeState};
use repot_sys::{Cloned, Namespaces, clone_process};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::CapabilitySet;
use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The program.
const PROGRAM: &str = "fuse-overlayfs";

/// Beside a machine's `upper` and `work`: its writes hold marks of deleted files that the kernel's overlay does not know
/// (`.wh.NAME`, `user.fuseoverlayfs.opaque`), so it stays with fuse-overlayfs.
const MARKER: &str = "by-fuse-overlayfs";

/// How long it may take to notice that its file system is gone.
const END_TIME: Duration = Duration::from_secs(5);

/// Room for what it says.
const ROOM: [u8; 4096] = [0; 4096];

/// What it needs to do in files what root of the machine does.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// Why fuse-overlayfs cannot be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What gives it.
    pub hint: &'static str,
}

/// What keeps fuse-overlayfs from serving a machine. `None`: nothing that could be seen.
pub fn missing() -> Option<Missing> {
    if !is_in_path(PROGRAM) {
        return Some(Missing {
            what: "fuse-overlayfs is not installed".into(),
            hint: "`sudo apt-get install fuse-overlayfs` (the package has this name elsewhere too)",
        });
    }
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    device.err().map(|errno| Missing {
        what: format!("/dev/fuse, which fuse-overlayfs needs, cannot be opened: {errno}"),
        hint: match errno {
            Errno::ACCESS | Errno::PERM => {
                "`sudo chmod 666 /dev/fuse` gives it to all users, as udev does"
            }
            _ => "`sudo modprobe fuse`; in a container, /dev/fuse has to be given to it",
        },
    })
}

/// Whether a machine can do with fuse-overlayfs: with IDs that are the caller's own. Root of the host has ID-mapped layers, which
/// want the kernel's.
pub fn may_serve(idmap: &IdMap) -> bool {
    matches!(idmap, IdMap::Identity { .. })
}

/// Whether fuse-overlayfs has made this upper directory of a machine.
pub fn has_made(upper: &Path) -> bool {
    upper.with_file_name(MARKER).exists()
}

/// Moves this process into the user namespace of a machine whose files are served so: from outside, be it by root, the kernel lets
/// nobody look at them (fuse.rst, "allow_other" and user namespaces). Must be called before the process has threads.
///
/// # Errors
/// The machine has ended, or is another user's.
pub fn reach_files(state: &RuntimeState) -> Result<()> {
    if state.file_server.is_none() {
        return Ok(());
    }
    for namespace in Leader::of(state)?.namespaces(Namespaces::USER)? {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
            .at("entering the user namespace of", state.spec.name.as_str())?;
    }
    Ok(())
}

/// Why the kernel's overlay does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was mounted in vain.
    Kernel(Errno),
    /// It could not mark deleted files there (overlayfs.rst, "Upper and Lower").
    NoAttributes,
    /// It would not understand the marks of earlier boots.
    Earlier,
}

/// What it takes to start the server at each boot of a machine.
#[derive(Debug)]
pub(crate) struct ServerPlan {
    steps: Vec<Step>,
    options: CString,
    env: Vec<CString>,
    /// The directory for writes that are kept.
    kept: Option<PathBuf>,
    /// Settled for all boots: an upper directory belongs to whoever has made its marks.
    refusal: OnceCell<Refusal>,
}

impl ServerPlan {
    /// `None` where fuse-overlayfs is out of the question.
    pub(crate) fn new(spec: &BootSpec, staging: &Path) -> Result<Option<Self>> {
        if !may_serve(&spec.idmap) || spec.root.overlay == Overlay::InPlace {
            return Ok(None);
        }
        let (steps, options) = serving_steps(&spec.root, staging)?;
        let invalid = |error: std::ffi::NulError| Error::Invalid {
            what: "options of fuse-overlayfs".into(),
            why: error.to_string(),
        };
        // Where programs are, and, for whoever looks at it, whose it is.
        let env = ["PATH", "REPOT_RUN_DIR"].into_iter().filter_map(|name| {
            let value = std::env::var_os(name)?.into_vec();
            CString::new([name.as_bytes(), b"=", &value].concat()).ok()
        });
        Ok(Some(Self {
            steps,
            options: CString::new(options).map_err(invalid)?,
            env: env.collect(),
            kept: match &spec.root.overlay {
                Overlay::Kept { dir } => Some(dir.clone()),
                Overlay::Ephemeral | Overlay::InPlace => None,
            },
            refusal: OnceCell::new(),
        }))
    }

    /// Why the kernel's overlay need not be tried. `writes` holds what is forgotten.
    pub(crate) fn known_refusal(&self, writes: Option<&OwnedFd>) -> Option<Refusal> {
        if let Some(refusal) = self.refusal.get() {
            return Some(refusal.clone());
        }
        let place = match (&self.kept, writes) {
            (Some(dir), _) if dir.join(MARKER).exists() => return Some(Refusal::Earlier),
            (Some(dir), _) => dir.clone(),
            (None, Some(mount)) => format!("/proc/self/fd/{}", mount.as_raw_fd()).into(),
            (None, None) => return None,
        };
        // The value of an attribute that overlayfs would ignore.
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(&place, "user.overlay.repot", b"", flags) {
            Err(Errno::OPNOTSUPP) => Some(Refusal::NoAttributes),
            Ok(()) | Err(_) => {
                let _ = rustix::fs::removexattr(&place, "user.overlay.repot");
                None
            }
        }
    }

    /// Settles that it is fuse-overlayfs, now and for later boots.
    pub(crate) fn settle(&self, refusal: &Refusal) -> Result<()> {
        let _ = self.refusal.set(refusal.clone());
        let Some(dir) = &self.kept else { return Ok(()) };
        let marker = dir.join(MARKER);
        std::fs::write(&marker, format!("{}\n", self.explain(refusal))).at("writing", marker)
    }

    /// In words, for people.
    pub(crate) fn explain(&self, refusal: &Refusal) -> String {
        let place = self.kept.as_deref().map_or_else(
            || "writes in memory".to_owned(),
            |dir| format!("writes in {}", dir.display()),
        );
        match refusal {
            Refusal::Kernel(errno) => {
                format!("the kernel mounts no overlay for you with {place} ({errno})")
            }
            Refusal::NoAttributes => format!(
                "an overlay of the kernel needs extended attributes, and the file system of the {place} has none"
            ),
            Refusal::Earlier => format!(
                "fuse-overlayfs has made the {place} at an earlier boot, in a form that is its own"
            ),
        }
    }

    /// Starts the server for a mounted file system, whose device this is. `writes` holds what is forgotten.
    ///
    /// # Errors
    /// Its layers cannot be bound, or the program not be executed.
    pub(crate) fn start(&self, writes: Option<&OwnedFd>, device: OwnedFd) -> Result<FileServer> {
        let writes = writes.and_then(|writes| idmap::copy_of(writes.as_fd(), None).ok());
        let said = text_file()?;
        let parent = rustix::process::getpid();
        let (ours, theirs) = socket_pair()?;
        let (pid, pidfd) = match clone_process(Namespaces::NONE)? {
            Cloned::Child => {
                drop(ours);
                let mut context = Context {
                    handed: vec![writes],
                    held: Vec::new(),
                    cgroups: None,
                    socket: theirs,
                };
                let errno = self.serve(&mut context, &device, &said, parent);
                context.report(Report::NoExec {
                    errno: errno.raw_os_error(),
                });
                repot_sys::exit_now(127)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        // Only the server has the device from here on, so that its end is the end of the file system.
        drop((theirs, device));
        let server = FileServer {
            id: ProcessId {
                pid,
                start: registry::start_time(pid).unwrap_or(0),
            },
            pidfd,
            said,
            status: None,
            was_killed: false,
            is_lost: Arc::default(),
        };
        let mut bytes = [0u8; 16];
        let (length, _) = receive(&ours, &mut bytes)?;
        match Report::decode(&bytes[..length]) {
            _ if length == 0 => Ok(server),
            Some(Report::Failed { step, errno }) => Err(Error::Step {
                index: step,
                step: self.steps.get(step).map_or_else(
                    || "starting fuse-overlayfs".to_owned(),
                    |step| format!("{step} for fuse-overlayfs"),
                ),
                errno: Errno::from_raw_os_error(errno),
            }),
            Some(Report::NoExec { errno }) => Err(Error::FileServer(format!(
                "cannot be executed: {}",
                Errno::from_raw_os_error(errno)
            ))),
            _ => Err(Error::FileServer("could not be started".into())),
        }
    }

    /// The child. Returns only on failure.
    fn serve(
        &self,
        context: &mut Context,
        device: &OwnedFd,
        said: &std::fs::File,
        parent: Pid,
    ) -> Errno {
        let prepare = || -> std::result::Result<CString, Errno> {
            repot_sys::cloexec_from(3).map_err(|error| error.errno)?;
            rustix::io::fcntl_setfd(device, FdFlags::empty())?;
            let _ = rustix::process::setsid();
            repot_sys::unshare(Namespaces::MOUNT).map_err(|error| error.errno)?;
            // What the host unmounts must not be kept here.
            rustix::mount::mount_change(
                c"/",
                MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
            )?;
            CString::new(format!("/dev/fd/{}", device.as_raw_fd())).map_err(|_| Errno::INVAL)
        };
        let place = match prepare() {
            Ok(place) => place,
            Err(errno) => return errno,
        };
        if context.run(&self.steps).is_err() {
            repot_sys::exit_now(127);
        }
        context.handed.clear();
        let settle = || -> std::result::Result<(), Errno> {
            let null = rustix::fs::open(c"/dev/null", OFlags::RDONLY, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(said)?;
            rustix::stdio::dup2_stderr(said)?;
            // It serves a hostile machine: of its user's account it keeps what files need.
            keep_capabilities(CAPABILITIES)?;
            rustix::thread::set_no_new_privs(true)?;
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            match rustix::process::getppid() {
                Some(now) if now == parent => Ok(()),
                Some(_) | None => Err(Errno::SRCH),
            }
        };
        if let Err(errno) = settle() {
            return errno;
        }
        repot_sys::reset_signals();
        let argv = [
            CString::from(c"fuse-overlayfs"),
            c"-f".into(),
            c"-o".into(),
            self.options.clone(),
            // The mount is made already, and its device is this descriptor (fuse_session_mount of libfuse 3.3).
            place,
        ];
        exec_in_path(&argv, &self.env)
    }
}

/// A file in memory for what a program says, which cannot grow without end.
fn text_file() -> Result<std::fs::File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("fuse-overlayfs", flags).at("making", "a memory file")?;
    let file = std::fs::File::from(file);
    file.write_all_at(&ROOM, 0).at("filling", "a memory file")?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)
        .at("limiting", "a memory file")?;
    Ok(file)
}

/// A running fuse-overlayfs. Dropped, it is waited for, since its file system ends with the machine, and killed if it stays.
#[derive(Debug)]
pub(crate) struct FileServer {
    id: ProcessId,
    pidfd: OwnedFd,
    said: std::fs::File,
    /// How it ended, once somebody has waited for it.
    status: Option<WaitStatus>,
    /// It has not noticed in time that its file system was gone.
    was_killed: bool,
    /// Its files were in use when it ended.
    is_lost: Arc<AtomicBool>,
}

impl FileServer {
    /// Who it is.
    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Takes note of an end that was waited for elsewhere, and whether its files were in use by then.
    pub(crate) fn note_end(&mut self, status: WaitStatus, is_lost: bool) {
        self.status = Some(status);
        self.is_lost.store(is_lost, Ordering::Release);
    }

    /// Waits for its end; what to tell of it.
    pub(crate) fn end(&mut self) -> Error {
        self.wait();
        self.why()
    }

    /// After the end of the machine, waits for its own. Whether, and why, the machine has ended for want of it. A machine may be
    /// the first of whom one hears: a program cannot go on where a page of it cannot be read (SIGBUS).
    pub(crate) fn loss(&mut self, has_ended_well: bool) -> Option<Error> {
        self.wait();
        let has_failed = self
            .status
            .is_some_and(|status| status.exit_status() != Some(0));
        let is_lost = self.is_lost.load(Ordering::Acquire)
            || has_failed && !self.was_killed && !has_ended_well;
        is_lost.then(|| self.why())
    }

    fn wait(&mut self) {
        if self.status.is_some() {
            return;
        }
        if !wait_for(&self.pidfd, Some(END_TIME)) {
            self.was_killed = true;
            let _ = repot_sys::send_signal(&self.pidfd, self.id.pid, Signal::KILL.as_raw());
        }
        let waited = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(Pid::from_raw(self.id.pid), WaitOptions::empty())
        });
        self.status = waited.ok().flatten().map(|(_, status)| status);
    }

    /// What to tell of its end.
    fn why(&self) -> Error {
        let how = self.status.map_or_else(
            || "has ended".to_owned(),
            |status| format!("has ended ({})", in_words(status)),
        );
        let mut bytes = ROOM;
        let length = self.said.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let said: Vec<&str> = text
            .split(|c: char| c.is_control())
            .map(str::trim)
            // At each start, of an option that it gives itself.
            .filter(|line| !line.is_empty() && !line.starts_with("unknown argument ignored"))
            .collect();
        Error::FileServer(match said.is_empty() {
            true => how,
            false => format!("{how}: {}", said.join("; ")),
        })
    }

    /// Kills a machine when its server has ended before it, for a command that follows no events.
    pub(crate) fn guard(&self, leader: ProcessId, leader_fd: &OwnedFd) -> Result<()> {
        let duplicate = |fd: &OwnedFd| fd.try_clone().at("duplicating", "a process' descriptor");
        let (server, leader_fd, id) = (duplicate(&self.pidfd)?, duplicate(leader_fd)?, self.id);
        let is_lost = Arc::clone(&self.is_lost);
        std::thread::spawn(move || {
            let is_over = wait_for(&server, None);
            // Before Linux 5.3 a pidfd is always ready: then nobody watches.
            if is_over && registry::start_time(id.pid) != Some(id.start) && is_in_use(leader) {
                is_lost.store(true, Ordering::Release);
                let _ = repot_sys::send_signal(&leader_fd, leader.pid, Signal::KILL.as_raw());
            }
        });
        Ok(())
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.wait();
    }
}

fn wait_for(pidfd: &OwnedFd, timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(crate::supervisor::timespec);
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, timeout.as_ref()))
        .is_ok_and(|ready| ready > 0)
}

/// Whether a machine's PID 1 still has files. What ends gives up its mounts before anybody hears of its end, and with the last
/// mount of a file system its server ends by itself.
pub(crate) fn is_in_use(leader: ProcessId) -> bool {
    Leader::of_process(leader.pid, leader.start)
        .is_some_and(|leader| leader.namespaces(Namespaces::MOUNT).is_ok())
}
