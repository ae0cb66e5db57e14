//! The steps from a new process to a machine's PID 1, as data: made from a boot spec by pure code, printed by
//! `--dry-run`, run in order by the child. The order of the files in this folder is the order of the steps.

mod bind;
mod devices;
mod figures;
mod filesystems;
mod guest;
mod plan;
mod privileges;
mod root;
mod run;

pub(crate) use plan::shares_sys;
pub use plan::{Inputs, steps};
pub use privileges::{DEFAULT_CAPABILITIES, capability_set};
pub(crate) use root::serving_steps;
pub(crate) use run::{Context, Report, keep_capabilities};

use crate::idmap::MountKind;
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::fmt;

/// A detached mount that the parent hands to the child, by its place in the handed-over list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed(pub usize);

/// A path of the host that the child opens before it leaves the host's root, by a name to refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held(pub usize);

/// What lays the layers of the machine's `/` over each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootBy {
    /// The kernel's overlay file system.
    #[default]
    Kernel,
    /// fuse-overlayfs, a process outside of the machine (`file_server.rs`).
    Fuse,
}

/// What the child binds by itself where the kernel cannot hand mounts over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instead {
    /// On the host.
    pub path: CString,
    /// What of its mount is taken along.
    pub kind: MountKind,
    /// Whether nothing may be changed through the bind.
    pub read_only: bool,
}

/// One thing that the child does. Relative paths are in the staging directory, absolute ones on the host. Paths of the machine
/// occur in [`Step::Place`], [`Step::GuestDir`] and [`Step::AttachInside`] only, and are looked up beneath its root with all its
/// symlinks confined to it and none followed that the kernel makes up (`/proc/self/fd`): a tree may be hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each step's text names its fields")]
pub enum Step {
    /// Become uid 0, gid 0 without further groups in the new user namespace, so that what follows is owned by its root.
    BecomeRoot,
    /// Ask the kernel to kill this process when the supervisor dies.
    DieWithParent,
    /// Move into the machine's cgroups in all hierarchies.
    EnterCgroups,
    /// Make the current cgroups the root of what the machine sees.
    NewCgroupNamespace,
    /// Stop mount events from travelling between the host and the machine.
    PrivateMounts,
    /// Open a path of the host for a later [`Step::BindHeld`], before it is covered.
    Hold { held: Held, path: CString },
    /// Go to a directory, `create` it if need be.
    Enter { path: CString },
    /// Attach a mount that the parent prepared. Where the kernel cannot hand mounts over: bind `instead`, or mount a tmpfs.
    Attach {
        handed: Handed,
        instead: Option<Instead>,
        at: CString,
    },
    /// Mount something new.
    Mount(Mount),
    /// Open the device of FUSE for a later [`Step::MountServed`], while it is in reach and with the groups that may open it.
    OpenFuse { held: Held },
    /// Mount a FUSE file system and give its device to the parent, whose program serves it.
    MountServed { held: Held, at: CString },
    /// Bind a path of the host, opened before.
    BindHeld { held: Held, at: CString },
    /// Bind a path to another.
    Bind { from: CString, at: CString },
    /// Bind a file of lxcfs over one of `/proc`. An lxcfs that has died since it was looked for is done without.
    Figures { from: CString, at: CString },
    /// Bind a path to itself with these flags: a read-only island, or a writable one. `optional`: it may be missing.
    Rebind {
        at: CString,
        flags: MountFlags,
        optional: bool,
    },
    /// Cover a file with an empty one, if it is there.
    Mask { at: CString, with: CString },
    /// Create a directory (and its parents) unless something is there.
    Dir { path: CString, mode: u32 },
    /// Create a file with this content; with no content, an existing file is left alone.
    File {
        path: CString,
        mode: u32,
        content: Vec<u8>,
    },
    /// Create a symlink.
    Link { to: CString, at: CString },
    /// Move a mount from the staging directory to a directory of the machine, which is created if it is missing.
    Place {
        from: CString,
        to: CString,
        mode: u32,
    },
    /// Create a directory in the machine unless something is there.
    GuestDir { path: CString, mode: u32 },
    /// Attach a mount that the parent prepared to a path of the machine, which is created if it is missing.
    AttachInside {
        handed: Handed,
        instead: Instead,
        to: CString,
        is_dir: bool,
    },
    /// Make a mounted directory the root of the file system and let go of the host's files.
    PivotRoot { new_root: CString },
    /// Allocate a pty from the machine's devpts, give it these names below `/dev`, hand its master to the parent.
    Terminal { names: Vec<CString> },
    /// Make a terminal of the machine standard input, output and error, not the controlling terminal.
    Stdio { path: CString },
    /// Set the host name.
    Hostname { name: String },
    /// Switch the loopback device on.
    Loopback,
    /// Start with an empty session keyring.
    Keyring,
    /// Become leader of a new session whose controlling terminal is standard input: for a command at PID 1. An init is no
    /// session leader, as on hardware: else it would take the console that it opens for its own, away from the gettys.
    NewSession,
    /// Keep these capabilities only.
    Capabilities { keep: rustix::thread::CapabilitySet },
    /// Install the system-call filter.
    Seccomp {
        filters: Vec<Vec<repot_sys::Instruction>>,
    },
}

/// The arguments of mount(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// File system type.
    pub fs_type: CString,
    /// Where.
    pub at: CString,
    /// Flags.
    pub flags: MountFlags,
    /// Options of the file system.
    pub options: CString,
    /// Whether the machine can do without.
    pub optional: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |path: &CString| path.to_string_lossy().into_owned();
        match self {
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::DieWithParent => f.write_str("die with the supervisor"),
            Self::EnterCgroups => f.write_str("enter the machine's cgroups"),
            Self::NewCgroupNamespace => f.write_str("unshare the cgroup namespace"),
            Self::PrivateMounts => f.write_str("make all mounts private"),
            Self::Hold { path, .. } => write!(f, "open {} of the host", show(path)),
            Self::Enter { path } => write!(f, "enter {}", show(path)),
            Self::Attach {
                handed,
                instead: None,
                at,
            } => write!(f, "attach prepared mount {} at {}", handed.0, show(at)),
            Self::Attach {
                handed,
                instead: Some(instead),
                at,
            } => write!(
                f,
                "attach prepared mount {} of {} at {}",
                handed.0,
                show(&instead.path),
                show(at)
            ),
            Self::Mount(mount) => {
                write!(f, "mount {} at {}", show(&mount.fs_type), show(&mount.at))?;
                if mount.options.is_empty() {
                    Ok(())
                } else {
                    write!(f, " with {}", show(&mount.options))
                }
            }
            Self::OpenFuse { .. } => f.write_str("open /dev/fuse of the host"),
            Self::MountServed { at, .. } => {
                write!(f, "mount what fuse-overlayfs serves at {}", show(at))
            }
            Self::BindHeld { held, at } => write!(f, "bind opened path {} at {}", held.0, show(at)),
            Self::Bind { from, at } => write!(f, "bind {} at {}", show(from), show(at)),
            Self::Figures { from, at } => write!(f, "show {} at {}", show(from), show(at)),
            Self::Rebind { at, flags, .. } if flags.contains(MountFlags::RDONLY) => {
                write!(f, "make {} read-only", show(at))
            }
            Self::Rebind { at, .. } => write!(f, "make {} writable", show(at)),
            Self::Mask { at, .. } => write!(f, "mask {}", show(at)),
            Self::Dir { path, mode } => {
                write!(f, "create directory {} with mode {mode:o}", show(path))
            }
            Self::File {
                path,
                mode,
                content,
            } => write!(
                f,
                "create file {} with mode {mode:o}, {} bytes",
                show(path),
                content.len()
            ),
            Self::Link { to, at } => write!(f, "link {} to {}", show(at), show(to)),
            Self::Place { from, to, .. } => {
                write!(f, "move {} to {} of the machine", show(from), show(to))
            }
            Self::GuestDir { path, mode } => write!(
                f,
                "create directory {} of the machine with mode {mode:o}",
                show(path)
            ),
            Self::AttachInside {
                handed,
                instead,
                to,
                ..
            } => write!(
                f,
                "attach prepared mount {} of {} at {} of the machine",
                handed.0,
                show(&instead.path),
                show(to)
            ),
            Self::PivotRoot { new_root } => write!(
                f,
                "make {} the root and let go of the host's files",
                show(new_root)
            ),
            Self::Terminal { names } => {
                write!(
                    f,
                    "allocate a pty as {}",
                    names
                        .iter()
                        .map(|name| format!("/dev/{}", show(name)))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
            Self::Stdio { path } => {
                write!(f, "open {} as standard input, output and error", show(path))
            }
            Self::Hostname { name } => write!(f, "set the host name to {name}"),
            Self::Loopback => f.write_str("switch the loopback device on"),
            Self::Keyring => f.write_str("start with an empty session keyring"),
            Self::NewSession => f.write_str("become leader of a session on the terminal"),
            Self::Capabilities { keep } => write!(f, "keep capabilities {keep:?}"),
            Self::Seccomp { filters } => write!(f, "install {} system-call filters", filters.len()),
        }
    }
}
