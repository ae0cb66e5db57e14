//! repot's own runtime: what it gives. It needs no handing over.

use crate::Host;
use repot_model::{
    CgroupVersion, EngineId, Keyrings, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer,
    Sys,
};

/// Capabilities that the runtime leaves to a machine in a user namespace of its own. The list with its reasons is
/// `repot-runtime`'s policy; rules ask for these only.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
];

/// What the native runtime gives (ARCHITECTURE.md, "Terminals", "cgroups", "Policy"). `cgroups`: layouts in which the caller may
/// make a cgroup for a machine.
pub fn native_offers(host: &Host, cgroups: Vec<CgroupVersion>, shares_network: bool) -> Offers {
    Offers {
        engine: EngineId::native(),
        console: OfferedTerminal {
            device: "console".into(),
            login_name: "tty1".into(),
        },
        terminals: (1..=6).map(|number| format!("tty{number}")).collect(),
        tty1_is_console: true,
        makes_missing_terminals: true,
        serves_silent_console: true,
        is_pid1: true,
        program: ProgramOffer::Any,
        container: None,
        takes_env: true,
        cgroups,
        capabilities: CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        stop: StopOffer::Asks,
        mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
            .map(str::to_owned)
            .to_vec(),
        demands: Vec::new(),
        ids: 65536,
        // CAP_SYS_RESOURCE of a user namespace does not raise limits: the kernel asks for the initial one (setrlimit(2)).
        raises_limits: false,
        // In a user namespace pam_loginuid ignores the failure (pam_loginuid.c, `set_loginuid`).
        sets_loginuid: true,
        // The filter answers ENOSYS to keyctl(2) and add_key(2).
        keyrings: Keyrings::Unknown,
        sys: Sys::ReadOnly,
        interfaces: Vec::new(),
        shares_network,
        resolver: if shares_network {
            Resolver::Repot
        } else {
            Resolver::Machine
        },
        unprivileged: true,
        emulators: host.emulators.clone(),
    }
}
