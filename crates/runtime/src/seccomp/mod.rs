//! The system-call filter: which calls a machine does not get, and the answer it gets instead.
//!
//! By default everything is allowed but what is listed here: an init must be able to mount, unshare and reboot, and a filter
//! that kills unknown calls would age badly. The user namespace and the capability set are the walls; this is the second
//! lock on doors that have been forced before.

mod abi;
mod assemble;
mod profile;

use crate::error::Result;
use abi::Abi;
use profile::{Host, Rules};
use repot_model::{Seccomp, SeccompAction, SeccompProfile, SeccompRule};
use repot_sys::Instruction;

pub use profile::{ProfileError, parse_profile};

/// Refused with EPERM, which programs take for "no privilege": the kernel itself, its log, its memory.
const REFUSED: &[&str] = &[
    // Another kernel, and code in this one.
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "bpf",
    // Files by number instead of by path: the way out of a chroot (the "shocker" exploit of 2014).
    "open_by_handle_at",
    // What the host's memory is swapped to, and its accounting.
    "swapon",
    "swapoff",
    "acct",
    // Other processes and the kernel, observed; page faults, held open.
    "perf_event_open",
    "userfaultfd",
    // The kernel's log.
    "syslog",
];

/// Answered with ENOSYS, after which programs use another way: the keyring (not a namespace of its own; EPERM would fail
/// PAM, knowledge of LXC and nspawn), io_uring (switched off by Docker and others for its record of holes).
const ABSENT: &[&str] = &[
    "keyctl",
    "add_key",
    "request_key",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
];

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The filters for a machine with these capabilities. The kernel runs all of them and obeys the strictest answer.
///
/// # Errors
/// The profile is too long for the kernel, or this architecture is unknown to the assembler.
pub(crate) fn filters(seccomp: &Seccomp, capabilities: &[String]) -> Result<Vec<Vec<Instruction>>> {
    let host = Host {
        abis: abi::of_host()?,
        kernel: crate::idmap::kernel_version(),
    };
    match seccomp {
        Seccomp::Unconfined => Ok(Vec::new()),
        Seccomp::Default => {
            assemble::programs(&Rules::of(&default_profile(host.abis), &host, capabilities))
        }
        Seccomp::Profile(profile) => assemble::programs(&Rules::of(profile, &host, capabilities)),
    }
}

/// Tries whether programs for the kernel can be made of a profile.
///
/// # Errors
/// It is too long for the kernel, or this architecture is unknown to the assembler.
pub fn check_profile(profile: &SeccompProfile) -> Result<()> {
    filters(&Seccomp::Profile(Box::new(profile.clone())), &[]).map(drop)
}

/// The lists above, for every kind of program that runs on this host.
fn default_profile(abis: &[Abi]) -> SeccompProfile {
    let rule = |names: &[&str], errno| SeccompRule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        name: None,
        action: SeccompAction::Errno,
        errno_ret: Some(errno),
        args: None,
        includes: None,
        excludes: None,
    };
    SeccompProfile {
        default_action: SeccompAction::Allow,
        default_errno_ret: None,
        architectures: abis.iter().map(|abi| abi.name.to_owned()).collect(),
        arch_map: Vec::new(),
        syscalls: vec![rule(REFUSED, EPERM), rule(ABSENT, ENOSYS)],
    }
}
