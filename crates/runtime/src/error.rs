//! What can go wrong while a machine is started, joined or stopped.

use repot_model::MachineName;
use rustix::io::Errno;
use std::path::PathBuf;

/// An error of the native runtime.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "fields are named in the message")]
pub enum Error {
    /// A kernel call failed.
    #[error(transparent)]
    Sys(#[from] repot_sys::Error),
    /// Something could not be done with a path of the host.
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A step inside the new machine failed.
    #[error("starting the machine failed at step {index}, {step}: {errno}")]
    Step {
        index: usize,
        step: String,
        errno: Errno,
    },
    /// PID 1 could not be executed.
    #[error("executing {program} in the machine: {errno}")]
    Exec { program: String, errno: Errno },
    /// An engine's own program could not be started.
    #[error("starting {program} of the container system: {errno}")]
    EngineProgram { program: String, errno: Errno },
    /// The child ended before it could say why.
    #[error("the machine's first process ended before it was set up ({status})")]
    ChildDied { status: String },
    /// The machine runs already.
    #[error("machine {0} is running already")]
    AlreadyRunning(MachineName),
    /// The kernel has no overlay for this user, and nothing can take its place.
    #[error("{why}; {missing}, which would take its place: {}", missing.hint)]
    NoOverlay {
        why: String,
        missing: crate::file_server::Missing,
    },
    /// What serves the machine's files cannot.
    #[error("fuse-overlayfs, which serves the machine's files, {0}")]
    FileServer(String),
    /// The machine does not run.
    #[error("machine {0} is not running")]
    NotRunning(MachineName),
    /// The machine runs under a supervisor of another version.
    #[error(
        "machine {name} was started by another version of repot (state format {found}, this one knows {known})"
    )]
    OtherVersion {
        name: MachineName,
        found: u32,
        known: u32,
    },
    /// The machine's supervisor has gone.
    #[error("the supervisor of the machine has gone")]
    SupervisorGone,
    /// The machine's first process, and so whatever joins it, is stopped by a cgroup.
    #[error("machine {name} is frozen by its cgroup {}", dir.display())]
    Frozen { name: MachineName, dir: PathBuf },
    /// The machine's devpts gives no terminal.
    #[error("machine {name} gives no terminal: {errno}{}", terminals_hint(*errno))]
    NoTerminal { name: MachineName, errno: Errno },
    /// There is no such machine.
    #[error("there is no machine called {0}")]
    NoSuchMachine(MachineName),
    /// Another command works on the machine.
    #[error("machine {0} is in use by another command")]
    Busy(MachineName),
    /// A file of ours is not what we wrote.
    #[error("{} is damaged: {why}", path.display())]
    State { path: PathBuf, why: String },
    /// A file of ours was written by another version.
    #[error("{} has format version {found}; this repot reads version {known}", path.display())]
    StateVersion {
        path: PathBuf,
        found: u64,
        known: u32,
    },
    /// The supervisor said so, or went away.
    #[error("{0}")]
    Supervisor(String),
    /// A value in the boot spec or on the command line cannot be used.
    #[error("{what}: {why}")]
    Invalid { what: String, why: String },
}

/// devpts says that the disk is full when there are as many terminals as there may be (pts(4)).
fn terminals_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC => "; as many are in use as it may have, or as kernel.pty.max allows",
        _ => "",
    }
}

/// Result of the native runtime.
pub type Result<T> = std::result::Result<T, Error>;

/// `.at("reading", path)` on the results of std and rustix.
pub(crate) trait At<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what,
            path: path.into(),
            source,
        })
    }
}

impl<T> At<T> for std::result::Result<T, Errno> {
    fn at(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|errno| Error::Io {
            what,
            path: path.into(),
            source: errno.into(),
        })
    }
}
