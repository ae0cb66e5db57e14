//! What engines have to know of this host, looked at once.

use repot_model::{CgroupVersion, Emulators};
use rustix::process::{Resource, getrlimit};
use std::path::Path;

/// How the host keeps its cgroups (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupLayout {
    /// cgroup2 alone, at `/sys/fs/cgroup`.
    Unified,
    /// v1 hierarchies, and a cgroup2 without controllers at `/sys/fs/cgroup/unified`.
    Hybrid,
    /// v1 hierarchies alone.
    Legacy,
    /// Nothing is mounted.
    None,
}

impl CgroupLayout {
    /// The layouts that an engine can give that shows a machine what the host has.
    pub fn views(self) -> Vec<CgroupVersion> {
        match self {
            Self::Unified => vec![CgroupVersion::V2],
            Self::Hybrid | Self::Legacy => vec![CgroupVersion::V1Systemd],
            Self::None => Vec::new(),
        }
    }
}

/// This host, as engines see it.
#[derive(Debug, Clone)]
pub struct Host {
    /// How it keeps its cgroups.
    pub cgroups: CgroupLayout,
    /// Whether the caller is root of it, and not of a user namespace only.
    pub is_root: bool,
    /// User and group ID of the caller, if it is in the namespace that repot makes for others than root (ADR 0011).
    pub rootless: Option<(u32, u32)>,
    /// Whether systemd is its PID 1 (sd_booted(3)).
    pub has_systemd: bool,
    /// Whether its kernel confines programs by AppArmor.
    pub has_apparmor: bool,
    /// Whether SELinux keeps its programs apart.
    pub has_selinux: bool,
    /// Whether the caller has a login ID (audit(8), `/proc/self/loginuid`), which what it starts inherits.
    pub has_loginuid: bool,
    /// How many open files and how many processes the caller may have at the most (getrlimit(2)).
    pub open_files: u64,
    /// As above.
    pub processes: u64,
    /// Capabilities that the caller can hand on (`CapBnd` of proc_pid_status(5)), as a mask.
    pub capability_bound: u64,
    /// The caller's environment, as far as engines look at it: `DOCKER_HOST`, `CONTAINER_HOST`, `LXD_DIR`, `INCUS_DIR`, ...
    pub env: Vec<(String, String)>,
    /// What runs programs of other architectures.
    pub emulators: Emulators,
}

/// Variables that engines look at.
const VARIABLES: &[&str] = &[
    "CONTAINERD_ADDRESS",
    "CONTAINERD_NAMESPACE",
    "CONTAINERD_SNAPSHOTTER",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "HOME",
    "INCUS_DIR",
    "INCUS_SOCKET",
    "LXC_PATH",
    "LXD_DIR",
    "LXD_SOCKET",
    "XDG_RUNTIME_DIR",
];

/// capability.h, in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `CGROUP2_SUPER_MAGIC` and `TMPFS_MAGIC` (linux/magic.h).
const CGROUP2: u32 = 0x6367_7270;
const TMPFS: u32 = 0x0102_1994;

impl Host {
    /// Looks at the host that this runs on.
    pub fn look() -> Self {
        let is_cgroup2 = |path: &str| magic(path) == Some(CGROUP2);
        let cgroups = if is_cgroup2("/sys/fs/cgroup") {
            CgroupLayout::Unified
        } else if is_cgroup2("/sys/fs/cgroup/unified") {
            CgroupLayout::Hybrid
        } else if magic("/sys/fs/cgroup") == Some(TMPFS) {
            CgroupLayout::Legacy
        } else {
            CgroupLayout::None
        };
        let bound = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capability_bound = bound
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0);
        let rootless = std::env::var("REPOT_ROOTLESS").ok().and_then(|caller| {
            let (uid, gid) = caller.split_once(':')?;
            Some((uid.parse().ok()?, gid.parse().ok()?))
        });
        Self {
            cgroups,
            // In that namespace everybody is root.
            is_root: rustix::process::geteuid().is_root() && rootless.is_none(),
            rootless,
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            has_apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with(b"Y")),
            has_selinux: std::fs::read("/sys/fs/selinux/enforce")
                .is_ok_and(|text| text.starts_with(b"1")),
            has_loginuid: std::fs::read_to_string("/proc/self/loginuid")
                .is_ok_and(|text| text.trim() != u32::MAX.to_string()),
            open_files: limit(Resource::Nofile),
            processes: limit(Resource::Nproc),
            capability_bound,
            env: VARIABLES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
                .collect(),
            emulators: crate::binfmt::emulators(),
        }
    }

    /// A host like most today, which is not this one: cgroup2 alone, a systemd, nothing taken away from root. What is made for
    /// elsewhere is made for that, so that it does not depend on where it was made.
    pub fn typical() -> Self {
        Self {
            cgroups: CgroupLayout::Unified,
            is_root: true,
            rootless: None,
            has_systemd: true,
            has_apparmor: true,
            has_selinux: false,
            has_loginuid: false,
            // systemd's default for services: DefaultLimitNOFILE= in systemd-system.conf(5), and the kernel's for processes of a
            // host with 8 GB (kernel/fork.c, `set_max_threads`).
            open_files: 524_288,
            processes: 31_000,
            capability_bound: u64::MAX,
            env: Vec::new(),
            emulators: Emulators::NotMounted,
        }
    }

    /// A variable of the caller's.
    pub fn var(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the caller can hand on the capability with that number (capability.h).
    pub fn has_capability(&self, number: u32) -> bool {
        self.capability_bound
            .checked_shr(number)
            .is_some_and(|mask| mask & 1 == 1)
    }

    /// The same by its name without `CAP_`.
    pub fn has_capability_named(&self, name: &str) -> bool {
        (0..)
            .zip(CAPABILITIES)
            .any(|(number, known)| known == name && self.has_capability(number))
    }

    /// Of these capabilities, those that the caller can hand on.
    pub fn capabilities_of(&self, names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names
            .iter()
            .filter(|name| self.has_capability_named(name))
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        names
    }

    /// All capabilities that the caller can hand on, but these.
    pub fn capabilities_but(&self, dropped: &[&str]) -> Vec<String> {
        let kept: Vec<&str> = CAPABILITIES
            .into_iter()
            .filter(|name| !dropped.contains(name))
            .collect();
        self.capabilities_of(&kept)
    }
}

/// The most that the caller may have of something; no limit is the largest number.
fn limit(of: Resource) -> u64 {
    getrlimit(of).maximum.unwrap_or(u64::MAX)
}

fn magic(path: &str) -> Option<u32> {
    let found = rustix::fs::statfs(path).ok()?;
    u32::try_from(found.f_type).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host of root's with all capabilities.
    pub(crate) fn host(cgroups: CgroupLayout) -> Host {
        Host {
            cgroups,
            is_root: true,
            rootless: None,
            has_systemd: false,
            has_apparmor: false,
            has_selinux: false,
            has_loginuid: false,
            open_files: 20_000,
            processes: 100_000,
            capability_bound: u64::MAX,
            env: Vec::new(),
            emulators: Emulators::NotMounted,
        }
    }

    #[test]
    fn capabilities_are_those_of_the_kernel() {
        let mut host = host(CgroupLayout::Unified);
        assert!(host.has_capability_named("SYS_RESOURCE"));
        // What CAP_SYS_RESOURCE, number 24, is missing from.
        host.capability_bound = 0x1ff_feff_ffff;
        assert!(!host.has_capability_named("SYS_RESOURCE"));
        assert!(host.has_capability_named("CHECKPOINT_RESTORE"));
        assert!(!host.has_capability_named("NO_SUCH"));
        let kept = host.capabilities_but(&["SYS_TIME"]);
        assert_eq!(kept.len(), 39);
        assert_eq!(
            host.capabilities_of(&["SYS_TIME", "SYS_RESOURCE", "CHOWN"]),
            ["CHOWN", "SYS_TIME"]
        );
    }
}
