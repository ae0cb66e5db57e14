//! Steps that take privileges away: capabilities, system calls, the caller's keyring.

use super::Step;
use crate::error::{Error, Result};
use crate::seccomp;
use repot_model::BootSpec;
use rustix::thread::CapabilitySet;

/// What PID 1 keeps, inside its user namespace: nspawn's default set (systemd-nspawn(1), `--capability=`) with NET_ADMIN.
/// Left out, since they act on the whole kernel: SYS_MODULE, SYS_RAWIO, SYS_TIME, SYSLOG, MAC_ADMIN, MAC_OVERRIDE, BPF,
/// PERFMON, WAKE_ALARM, BLOCK_SUSPEND, SYS_PACCT, AUDIT_READ.
pub const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
];

/// Capabilities by name, without `CAP_`.
///
/// # Errors
/// [`Error::Invalid`] for a name that capabilities(7) does not know.
pub fn capability_set(names: &[String]) -> Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let found = CapabilitySet::from_name(name).ok_or_else(|| Error::Invalid {
            what: format!("capability {name}"),
            why: "capabilities(7) knows none of that name".into(),
        })?;
        Ok(set | found)
    })
}

pub(super) fn steps(spec: &BootSpec, steps: &mut Vec<Step>) -> Result<()> {
    steps.push(Step::Keyring);
    // The filter before the capabilities: installing it needs CAP_SYS_ADMIN, which the user may have dropped.
    let filters = seccomp::filters(&spec.seccomp, &spec.capabilities)?;
    if !filters.is_empty() {
        steps.push(Step::Seccomp { filters });
    }
    steps.push(Step::Capabilities {
        keep: capability_set(&spec.capabilities)?,
    });
    Ok(())
}
