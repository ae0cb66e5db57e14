//! The starting command's side: makes a supervisor process and keeps a connection to it.

use crate::dirs::Dirs;
use crate::error::{At, Error, Result};
use crate::protocol::{self, Event, Request};
use crate::registry::{self, MachineLock};
use repot_model::{BootSpec, MachineName, Ready, SPEC_VERSION, Status};
use rustix::fs::MemfdFlags;
use rustix::io::{Errno, FdFlags};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The machine is ready.
    Ready(Ready),
    /// The machine has ended.
    Ended(Status),
    /// Neither in time.
    TimedOut,
}

/// Starts a machine under a supervisor of its own and waits until its PID 1 runs. The supervisor takes the lock over.
///
/// # Errors
/// What went wrong, as the supervisor tells it. Nothing is left running.
pub fn start(dirs: &Dirs, spec: &BootSpec, lock: MachineLock) -> Result<Connection> {
    registry::make_private_dir(&dirs.run)?;
    let (ours, theirs) = protocol::socket_pair()?;
    let mut document = File::from(
        rustix::fs::memfd_create("spec", MemfdFlags::CLOEXEC).at("making", "a memory file")?,
    );
    serde_json::to_writer(&mut document, spec)
        .map_err(|error| Error::Supervisor(error.to_string()))?;
    document
        .flush()
        .and_then(|()| document.rewind())
        .at("writing", "a memory file")?;
    let handed = [Some(&theirs), Some(&lock.name), lock.ids.as_ref()];
    let mut numbers = Vec::new();
    for fd in handed.into_iter().flatten() {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).at("passing on", "a descriptor")?;
        numbers.push(fd.as_raw_fd().to_string());
    }
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("repot")
        .arg("supervise")
        .arg(spec.name.as_str())
        .args(numbers)
        .env("REPOT_DATA_DIR", &dirs.data)
        .env("REPOT_RUN_DIR", &dirs.run)
        .current_dir("/");
    command
        .stdin(document)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().at("starting", "the supervisor")?;
    drop((theirs, lock));
    match protocol::next_event(&ours)? {
        Some(Event::Started) => Ok(Connection { socket: ours }),
        Some(Event::Failed(why)) => Err(Error::Supervisor(why)),
        _ => Err(Error::Supervisor(
            "the supervisor ended without a word".into(),
        )),
    }
}

/// The supervisor's `main`: reads the spec from standard input, takes over by number the connection to the starting command
/// and the locks, the machine's first.
///
/// # Errors
/// As [`crate::supervise`], which has told the starting command by then.
pub fn supervisor_main(starter: RawFd, locks: &[RawFd]) -> Result<()> {
    let inherited = |fd| {
        repot_sys::inherited_fd(fd)
            .ok_or_else(|| Error::Supervisor("this command is for repot's own use".into()))
    };
    let starter = inherited(starter)?;
    let locks: Vec<OwnedFd> = locks
        .iter()
        .map(|fd| inherited(*fd))
        .collect::<Result<_>>()?;
    // A descriptor that the caller left open, such as the end of a pipe, would stay open as long as the machine runs.
    let kept: Vec<_> = [&starter]
        .into_iter()
        .chain(&locks)
        .map(AsFd::as_fd)
        .collect();
    let _ = repot_sys::close_all_but(&kept);
    let _ = rustix::process::setsid();
    // The kernel would call it "exe", after the link that it was started by.
    let _ = rustix::thread::set_name(c"repot-machine");
    let mut text = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut text)
        .at("reading", "the boot spec")?;
    let spec: BootSpec = serde_json::from_slice(&text)
        .map_err(|error| Error::Supervisor(format!("the boot spec is damaged: {error}")))?;
    if spec.version != SPEC_VERSION {
        return Err(Error::Supervisor(format!(
            "the boot spec has version {}",
            spec.version
        )));
    }
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    crate::supervise(&Dirs::from_env(), spec, locks, starter)
}

impl Connection {
    /// Connects to the supervisor of a running machine.
    ///
    /// # Errors
    /// [`Error::NotRunning`], or [`Error::OtherVersion`], or [`Error::SupervisorGone`] if it was killed.
    pub fn open(dirs: &Dirs, name: &MachineName) -> Result<Self> {
        registry::running(dirs, name).ok_or_else(|| registry::not_running(dirs, name))?;
        Ok(Self {
            socket: protocol::connect(&dirs.running(name))?,
        })
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Sends a request unless the supervisor has too many to read: `false`.
    pub(crate) fn offer(&self, request: &Request) -> Result<bool> {
        match protocol::offer(&self.socket, &request.encode()) {
            Err(Errno::PIPE | Errno::CONNRESET) => Err(Error::SupervisorGone),
            result => result.at("talking to", "the supervisor"),
        }
    }

    pub(crate) fn send(&self, request: &Request) -> Result<()> {
        self.offer(request).map(drop)
    }

    /// Announces that the init is being asked to power off or to reboot.
    ///
    /// # Errors
    /// The supervisor has gone.
    pub fn announce_stop(&self, reboot: bool) -> Result<()> {
        self.send(&Request::Stopping { reboot })
    }

    /// Waits until the machine is ready or has ended.
    ///
    /// # Errors
    /// The supervisor has gone, or said that a restart failed.
    pub fn wait_ready(&self, timeout: Option<Duration>) -> Result<Waited> {
        self.send(&Request::AwaitReady)?;
        self.wait(timeout, |event| match event {
            Event::Ready(ready) => Some(Waited::Ready(ready)),
            Event::Ended(status) => Some(Waited::Ended(status)),
            Event::Output(_) | Event::Started | Event::Rebooting | Event::Failed(_) => None,
        })
    }

    /// Waits until the machine has ended.
    ///
    /// # Errors
    /// As [`Self::wait_ready`].
    pub fn wait_end(&self, timeout: Option<Duration>) -> Result<Waited> {
        self.wait(timeout, |event| match event {
            Event::Ended(status) => Some(Waited::Ended(status)),
            Event::Ready(_)
            | Event::Output(_)
            | Event::Started
            | Event::Rebooting
            | Event::Failed(_) => None,
        })
    }

    /// Waits until the machine has gone down and its next first process runs.
    ///
    /// # Errors
    /// As [`Self::wait_ready`].
    pub fn wait_reboot(&self, timeout: Option<Duration>) -> Result<Waited> {
        self.wait(timeout, |event| match event {
            Event::Started => Some(Waited::Ready(Ready {
                how: "restarted".into(),
                after_ms: 0,
            })),
            Event::Ended(status) => Some(Waited::Ended(status)),
            Event::Ready(_) | Event::Output(_) | Event::Rebooting | Event::Failed(_) => None,
        })
    }

    fn wait(
        &self,
        timeout: Option<Duration>,
        decide: impl Fn(Event) -> Option<Waited>,
    ) -> Result<Waited> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !readable(&self.socket, left)? {
                return Ok(Waited::TimedOut);
            }
            match protocol::next_event(&self.socket)? {
                None => return Err(Error::SupervisorGone),
                Some(Event::Failed(why)) => return Err(Error::Supervisor(why)),
                Some(event) => {
                    if let Some(waited) = decide(event) {
                        return Ok(waited);
                    }
                }
            }
        }
    }
}

/// Waits until a descriptor can be read. `false`: not in time.
pub(crate) fn readable(fd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags};
    let timeout = timeout.map(crate::supervisor::timespec);
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, timeout.as_ref()))
        .at("waiting for", "the supervisor")?;
    Ok(ready > 0)
}
