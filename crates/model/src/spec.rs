//! The boot spec: everything that the native runtime needs to start a machine, decided beforehand and printable.

use crate::{CgroupVersion, Device, HandOver, Limits, MachineName, Needs, Seccomp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of [`BootSpec`] and of the state files that hold one. Raised on every incompatible change.
pub const SPEC_VERSION: u32 = 1;

/// Everything needed to start a machine natively.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSpec {
    /// [`SPEC_VERSION`] of the writer.
    pub version: u32,
    /// The machine's name.
    pub name: MachineName,
    /// Its host name.
    pub hostname: String,
    /// 32 hexadecimal digits: `container_uuid`, and the machine-id of a tree that has none.
    pub uuid: String,
    /// Where `/` comes from.
    pub root: RootPlan,
    /// How user and group IDs are mapped.
    pub idmap: IdMap,
    /// What becomes PID 1.
    pub pid1: Pid1,
    /// argv of PID 1, or of the stub's child. `argv[0]` is the program, looked up in `PATH` in stub mode.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory inside the machine.
    pub cwd: String,
    /// The terminals; the first is the one that the user is attached to.
    pub terminals: Vec<Terminal>,
    /// The cgroup tree that it sees.
    pub cgroup: CgroupPlan,
    /// How much of the host it may use. Specs of before there were limits have none.
    #[serde(default)]
    pub limits: Limits,
    /// Files of an lxcfs, each shown in place of the file of that name in `/proc`, so that the machine sees what it may use
    /// and not what the host has.
    #[serde(default)]
    pub lxcfs: Vec<PathBuf>,
    /// The network that it sees.
    pub network: Network,
    /// Additional bind mounts.
    pub binds: Vec<BindMount>,
    /// Additional tmpfs mounts.
    pub tmpfs: Vec<TmpfsMount>,
    /// Capabilities kept, as names without `CAP_` (capabilities(7)).
    pub capabilities: Vec<String>,
    /// The system-call filter.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// Devices of the host.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Whether what `/proc` shows of the whole kernel is left as it is, neither masked nor read-only.
    #[serde(default)]
    pub bare_proc: bool,
    /// The init's needs, for stop, reboot and readiness. `None` in shell mode.
    pub needs: Option<Needs>,
    /// The container system that runs it. `None`: the native runtime. What the engine decides by itself (`idmap`, `terminals`,
    /// `cgroup`, `capabilities`, `seccomp`) is of no effect then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// Whether a getty of ours answers on the console if nothing else does.
    pub console_login: bool,
    /// What was decided, and why: for `--dry-run` and `status`.
    pub decisions: Vec<Decision>,
}

/// A decision with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided, such as `cgroup: private cgroup2`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Where the machine's `/` comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPlan {
    /// Directory on the host that holds the tree.
    pub base: PathBuf,
    /// Directories laid over the base, lowest first: files that repot adapted.
    pub layers: Vec<PathBuf>,
    /// What takes the machine's writes.
    pub overlay: Overlay,
}

/// What takes the machine's writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Overlay {
    /// A directory with `upper` and `work` in it, kept between boots.
    Kept {
        /// That directory on the host.
        dir: PathBuf,
    },
    /// A tmpfs that ends with the machine.
    Ephemeral,
    /// The tree itself: the user said `--in-place`.
    InPlace,
}

/// How the machine's user and group IDs relate to the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum IdMap {
    /// A user namespace that maps `0..size` to `base..base+size`, behind idmapped mounts.
    Shifted {
        /// First ID on the host.
        base: u32,
        /// Number of IDs.
        size: u32,
    },
    /// A user namespace that maps every ID to itself: for a caller who is root of a user namespace only, in a machine or
    /// without root on the host, and may not ID-map mounts.
    Identity {
        /// Number of IDs.
        size: u32,
    },
    /// No user namespace.
    Host {
        /// Why none is possible, or that the user asked for it.
        reason: String,
    },
}

/// What becomes PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pid1 {
    /// `argv` itself.
    Program,
    /// repot's stub, which starts `argv`, reaps orphans, forwards signals and passes the status on.
    Stub,
}

/// One pty of the machine and the names it has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Names below `/dev`, such as `console`, `tty1`.
    pub names: Vec<String>,
    /// What it is for.
    pub role: TerminalRole,
}

/// What a terminal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TerminalRole {
    /// Shown to the user and logged.
    Console,
    /// Exists so that gettys find it; its output is read and dropped.
    Idle,
}

/// The cgroup tree that a machine sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// What is mounted at `/sys/fs/cgroup`.
    pub version: CgroupVersion,
    /// Path of the machine's cgroup below the root of each hierarchy, without leading slash: `repot/NAME`. `None`: it stays in
    /// its starter's, who may make none.
    pub path: Option<String>,
}

/// The network that a machine sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's.
    Host,
    /// Its own, with nothing but a loopback device.
    None,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path in the machine.
    pub guest_path: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// A tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsMount {
    /// Path in the machine.
    pub guest_path: String,
    /// Options as mount(8) takes them: `mode=755,size=10%`.
    pub options: String,
}
