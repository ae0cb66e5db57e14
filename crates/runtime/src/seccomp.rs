//! The system-call filter: which calls a machine does not get, and the answer it gets instead.
//!
//! Everything is allowed but what is listed: an init must be able to mount, unshare and reboot, and a filter that kills
//! unknown calls would age badly. The user namespace and the capability set are the walls; this is the second lock on
//! doors that have been forced before.

use crate::error::{Error, Result};
use repot_sys::Instruction;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;

/// A call with its numbers on the native architecture and on 32-bit x86 (arch/x86/entry/syscalls/syscall_32.tbl).
type Call = (i64, Option<u32>);

/// Refused with EPERM, which programs take for "no privilege": the kernel itself, its log, its memory.
const REFUSED: &[Call] = &[
    // Another kernel, and code in this one.
    (libc::SYS_kexec_load, Some(283)),
    (libc::SYS_kexec_file_load, None),
    (libc::SYS_init_module, Some(128)),
    (libc::SYS_finit_module, Some(350)),
    (libc::SYS_delete_module, Some(129)),
    (libc::SYS_bpf, Some(357)),
    // Files by number instead of by path: the way out of a chroot (the "shocker" exploit of 2014).
    (libc::SYS_open_by_handle_at, Some(342)),
    // What the host's memory is swapped to, and its accounting.
    (libc::SYS_swapon, Some(87)),
    (libc::SYS_swapoff, Some(115)),
    (libc::SYS_acct, Some(51)),
    // Other processes and the kernel, observed; page faults, held open.
    (libc::SYS_perf_event_open, Some(336)),
    (libc::SYS_userfaultfd, Some(374)),
    // The kernel's log.
    (libc::SYS_syslog, Some(103)),
];

/// Answered with ENOSYS, after which programs use another way: the keyring (not a namespace of its own; EPERM would fail
/// PAM, knowledge of LXC and nspawn), io_uring (switched off by Docker and others for its record of holes).
const ABSENT: &[Call] = &[
    (libc::SYS_keyctl, Some(288)),
    (libc::SYS_add_key, Some(286)),
    (libc::SYS_request_key, Some(287)),
    (libc::SYS_io_uring_setup, Some(425)),
    (libc::SYS_io_uring_enter, Some(426)),
    (libc::SYS_io_uring_register, Some(427)),
];

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The filters that every machine gets.
///
/// # Errors
/// The assembler refuses a list, which a test excludes.
pub(crate) fn default_filters() -> Result<Vec<Vec<Instruction>>> {
    Ok(vec![filter(REFUSED, EPERM)?, filter(ABSENT, ENOSYS)?])
}

fn filter(calls: &[Call], errno: u32) -> Result<Vec<Instruction>> {
    let invalid = |why: String| Error::Invalid {
        what: "system-call filter".into(),
        why,
    };
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|error| invalid(error.to_string()))?;
    let rules = calls
        .iter()
        .map(|(number, _)| (*number, Vec::new()))
        .collect::<BTreeMap<_, _>>();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        arch,
    );
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(|error| invalid(error.to_string()))?;
    let native = program.iter().map(|op| Instruction {
        code: op.code,
        jt: op.jt,
        jf: op.jf,
        k: op.k,
    });
    Ok(if cfg!(target_arch = "x86_64") {
        with_x86(native.collect(), calls, errno)
    } else {
        native.collect()
    })
}

/// seccompiler kills calls of other architectures, but 32-bit distributions run on x86-64: their calls go to a list of
/// their own behind the native program (classic BPF: linux/filter.h; data layout: seccomp(2)).
fn with_x86(native: Vec<Instruction>, calls: &[Call], errno: u32) -> Vec<Instruction> {
    const LOAD: u16 = 0x20;
    const JUMP: u16 = 0x05;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_SET: u16 = 0x45;
    const X32_BIT: u32 = 0x4000_0000;
    const RETURN: u16 = 0x06;
    const NUMBER_AT: u32 = 0;
    const ARCH_AT: u32 = 4;
    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    const RET_ALLOW: u32 = 0x7fff_0000;
    const RET_ERRNO: u32 = 0x0005_0000;
    let op = |code, jt, jf, k| Instruction { code, jt, jf, k };
    // Calls of the x32 ABI carry the native architecture and a bit in the number; no list knows them, so none passes.
    let x32 = [
        op(LOAD, 0, 0, NUMBER_AT),
        op(JUMP_IF_SET, 0, 1, X32_BIT),
        op(RETURN, 0, 0, RET_ERRNO | ENOSYS),
    ];
    let native: Vec<Instruction> = x32.into_iter().chain(native).collect();
    let native_length = u32::try_from(native.len()).unwrap_or(u32::MAX);
    let mut program = vec![
        op(LOAD, 0, 0, ARCH_AT),
        op(JUMP_IF_EQUAL, 0, 1, AUDIT_ARCH_I386),
        op(JUMP, 0, 0, native_length),
    ];
    program.extend(native);
    program.push(op(LOAD, 0, 0, NUMBER_AT));
    for number in calls.iter().filter_map(|(_, x86)| *x86) {
        program.push(op(JUMP_IF_EQUAL, 0, 1, number));
        program.push(op(RETURN, 0, 0, RET_ERRNO | errno));
    }
    program.push(op(RETURN, 0, 0, RET_ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_assemble() {
        let filters = default_filters().unwrap();
        assert_eq!(filters.len(), 2);
        assert!(
            filters
                .iter()
                .all(|filter| (10..4096).contains(&filter.len()))
        );
    }
}
