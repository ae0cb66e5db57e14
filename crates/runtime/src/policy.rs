//! From what a machine's user wants it to be allowed to what it gets, with the reasons. Pure.

use crate::error::{Error, Result};
use crate::step::{DEFAULT_CAPABILITIES, capability_set};
use repot_model::{Decision, IdMap, Policy, Seccomp};
use rustix::thread::CapabilitySet;

/// Stands for all capabilities.
const ALL: &str = "ALL";

/// What a machine gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Capabilities, as names without `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// The system-call filter.
    pub(crate) seccomp: Seccomp,
    /// Whether `/proc` is left as it is.
    pub(crate) bare_proc: bool,
    /// Where it is not the default.
    pub(crate) decisions: Vec<Decision>,
}

/// Reads `CAP[,CAP...]`: names of capabilities(7) in any case, with or without `CAP_`, or `all`.
///
/// # Errors
/// [`Error::Invalid`] for a name that capabilities(7) does not have.
pub fn capability_names(text: &str) -> Result<Vec<String>> {
    text.split(',')
        .map(|name| {
            let upper = name.trim().to_ascii_uppercase();
            let short = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
            if short != ALL {
                capability_set(std::slice::from_ref(&short))?;
            }
            Ok(short)
        })
        .collect()
}

/// Decides what a machine gets.
pub(crate) fn grant(policy: &Policy, idmap: &IdMap) -> Granted {
    let is_host = matches!(idmap, IdMap::Host { .. });
    let capabilities = capabilities(policy, is_host);
    let seccomp = match (&policy.seccomp, policy.privileged) {
        (Some(chosen), _) => chosen.clone(),
        (None, true) => Seccomp::Unconfined,
        (None, false) => Seccomp::Default,
    };
    let mut decisions = Vec::new();
    let mut decide = |what: String, why: &str| {
        decisions.push(Decision {
            what,
            why: why.to_owned(),
        });
    };
    if policy.privileged {
        decide("privileged".into(), gives_away(idmap));
    }
    if !policy.capabilities.is_empty() || !policy.dropped_capabilities.is_empty() {
        decide(
            format!("capabilities: {}", shown(&capabilities)),
            "asked for with --capability or --drop-capability",
        );
    }
    match (&policy.seccomp, policy.privileged) {
        (None, _) => {}
        (Some(Seccomp::Unconfined), _) => decide(
            "system calls: no filter".into(),
            "asked for with --seccomp; what the filter refuses is left to the kernel's own checks",
        ),
        (Some(Seccomp::Profile(profile)), _) => decide(
            format!(
                "system calls: a profile with {} rules",
                profile.syscalls.len()
            ),
            "asked for with --seccomp",
        ),
        (Some(Seccomp::Default), true) => decide(
            "system calls: repot's own filter".into(),
            "asked for with --seccomp",
        ),
        (Some(Seccomp::Default), false) => {}
    }
    for device in &policy.devices {
        let access = if device.writable { "" } else { ", read-only" };
        decide(
            format!(
                "device: {} of the host as {}{access}",
                device.host_path.display(),
                device.guest_path
            ),
            "asked for with --device; the machine does to it what it likes",
        );
    }
    Granted {
        capabilities,
        seccomp,
        bare_proc: policy.privileged,
        decisions,
    }
}

/// What `--privileged` gives away, in words for the user.
pub fn gives_away(idmap: &IdMap) -> &'static str {
    match idmap {
        IdMap::Shifted { .. } | IdMap::Identity { .. } => {
            "every capability within its user namespace, no system-call filter, /proc neither masked nor read-only: what still \
             keeps it from the host are the user namespace and the kernel's freedom from holes (bpf, io_uring, userfaultfd, \
             keyrings are open to it as to any user of the host)"
        }
        IdMap::Host { .. } => {
            "everything: without a user namespace its root is the host's root with every capability, and may load modules, read \
             and write memory and disks, change every setting of the kernel, and leave the machine"
        }
    }
}

fn capabilities(policy: &Policy, is_host: bool) -> Vec<String> {
    let has_all = |names: &[String]| names.iter().any(|name| name == ALL);
    let mut kept: Vec<String> = if policy.privileged || has_all(&policy.capabilities) {
        CapabilitySet::all()
            .iter_names()
            .map(|(name, _)| name.to_owned())
            .collect()
    } else {
        DEFAULT_CAPABILITIES
            .iter()
            // Without a user namespace, a device node that root makes is a device.
            .filter(|name| !(is_host && **name == "MKNOD"))
            .map(|name| (*name).to_owned())
            .collect()
    };
    if has_all(&policy.dropped_capabilities) {
        kept.clear();
    }
    kept.retain(|name| !policy.dropped_capabilities.contains(name));
    for name in &policy.capabilities {
        if name != ALL && !kept.contains(name) {
            kept.push(name.clone());
        }
    }
    kept
}

fn shown(capabilities: &[String]) -> String {
    match capabilities.len() {
        0 => "none".into(),
        _ => capabilities.join(" "),
    }
}

/// Refuses wishes that contradict each other or cannot be kept.
///
/// # Errors
/// [`Error::Invalid`] with the option.
pub fn check(policy: &Policy, idmap: &IdMap) -> Result<()> {
    let both = |name: &&String| policy.dropped_capabilities.contains(name);
    if let Some(name) = policy.capabilities.iter().find(both) {
        return Err(Error::Invalid {
            what: format!("--capability {name}"),
            why: "--drop-capability names it as well".into(),
        });
    }
    let read_only = policy.devices.iter().find(|device| !device.writable);
    match (read_only, idmap) {
        (None, _) | (_, IdMap::Shifted { .. }) => Ok(()),
        (Some(device), IdMap::Identity { .. } | IdMap::Host { .. }) => Err(Error::Invalid {
            what: format!("--device {}:r", device.host_path.display()),
            why: "without IDs of its own, root of the machine is not kept from writing by a node's mode".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::Device;

    const SHIFTED: IdMap = IdMap::Shifted {
        base: 524_288,
        size: 65536,
    };

    fn host() -> IdMap {
        IdMap::Host {
            reason: String::new(),
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn capabilities_of(added: &[&str], dropped: &[&str]) -> Vec<String> {
        let policy = Policy {
            capabilities: names(added),
            dropped_capabilities: names(dropped),
            ..Policy::default()
        };
        grant(&policy, &SHIFTED).capabilities
    }

    #[test]
    fn the_default_is_no_decision() {
        let granted = grant(&Policy::default(), &SHIFTED);
        assert_eq!(granted.capabilities, names(DEFAULT_CAPABILITIES));
        assert_eq!(granted.seccomp, Seccomp::Default);
        assert!(!granted.bare_proc && granted.decisions.is_empty());
        let granted = grant(&Policy::default(), &host());
        assert!(!granted.capabilities.contains(&"MKNOD".to_owned()));
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        assert_eq!(capabilities_of(&["SYSLOG"], &["ALL"]), ["SYSLOG"]);
        assert!(capabilities_of(&[], &["ALL"]).is_empty());
        let all = capabilities_of(&["ALL"], &["SYS_MODULE"]);
        assert!(all.contains(&"SYS_TIME".to_owned()) && !all.contains(&"SYS_MODULE".to_owned()));
        let more = capabilities_of(&["SYSLOG", "CHOWN"], &["KILL"]);
        assert_eq!(more.len(), DEFAULT_CAPABILITIES.len());
        assert!(!more.contains(&"KILL".to_owned()));
        let policy = Policy {
            capabilities: names(&["MKNOD"]),
            ..Policy::default()
        };
        assert!(
            grant(&policy, &host())
                .capabilities
                .contains(&"MKNOD".to_owned())
        );
    }

    #[test]
    fn names_of_capabilities() {
        assert_eq!(
            capability_names("cap_net_admin,Syslog,all").unwrap(),
            ["NET_ADMIN", "SYSLOG", "ALL"]
        );
        for wrong in ["", "SYS_ADMIN,", "CAP_CAP_KILL", "everything"] {
            assert!(capability_names(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn privileged_gives_all_but_what_is_taken_back() {
        let mut policy = Policy {
            privileged: true,
            ..Policy::default()
        };
        let granted = grant(&policy, &SHIFTED);
        assert!(granted.bare_proc && granted.seccomp == Seccomp::Unconfined);
        assert!(granted.capabilities.contains(&"SYS_MODULE".to_owned()));
        assert_eq!(granted.decisions[0].what, "privileged");
        policy.seccomp = Some(Seccomp::Default);
        policy.dropped_capabilities = names(&["SYS_MODULE"]);
        let granted = grant(&policy, &SHIFTED);
        assert_eq!(granted.seccomp, Seccomp::Default);
        assert!(!granted.capabilities.contains(&"SYS_MODULE".to_owned()));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut policy = Policy {
            capabilities: names(&["KILL"]),
            dropped_capabilities: names(&["KILL"]),
            ..Policy::default()
        };
        assert!(check(&policy, &SHIFTED).is_err());
        policy.capabilities.clear();
        policy.devices.push(Device {
            host_path: "/dev/sda".into(),
            guest_path: "/dev/sda".into(),
            writable: false,
        });
        assert!(check(&policy, &SHIFTED).is_ok());
        assert!(check(&policy, &host()).is_err());
    }
}
