//! The end-to-end tests as on an older kernel: with system calls that answer ENOSYS, or what a file system without
//! ID-mapped mounts makes them answer.
//!
//! `without CALLS -- PROGRAM ARGS` hides the calls from a program and all that it starts, by a filter that is inherited.
//! `old-kernels` has the tests start repot that way, so that supervisors and machines lack the calls too but the test kit does
//! not, once for each set of calls, and prints a table. The filter is installed without no_new_privs, which would break
//! set-uid programs in machines; that needs root.

use crate::root;
use anyhow::{Context, Result, bail, ensure};
use repot_sys::Instruction;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Calls that can be hidden. From 424 on (Linux 5.1), a call has the same number on every architecture but alpha, 32-bit
/// x86 included (include/uapi/asm-generic/unistd.h and the tables in arch), so the filter need not look at that.
const CALLS: &[(&str, u32)] = &[
    ("pidfd_send_signal", 424),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("fsconfig", 431),
    ("fsmount", 432),
    ("pidfd_open", 434),
    ("clone3", 435),
    ("close_range", 436),
    ("openat2", 437),
    ("mount_setattr", 442),
];

/// What a call can be made to answer: absent; no support; forbidden by somebody else's filter.
const ANSWERS: &[(&str, u32)] = &[("ENOSYS", 38), ("EINVAL", 22), ("EPERM", 1)];

/// All of them.
const ALL: &str = "pidfd_send_signal,open_tree,move_mount,fsopen,fsconfig,fsmount,pidfd_open,clone3,close_range,\
    openat2,mount_setattr";

/// The sets of one run.
const SETS: &[&str] = &[
    "openat2",
    "openat2=EPERM",
    "clone3",
    "open_tree",
    "move_mount",
    "fsopen",
    "mount_setattr",
    "mount_setattr=EINVAL",
    "mount_setattr=EPERM",
    "pidfd_open",
    "pidfd_send_signal",
    "close_range",
    ALL,
];

/// The tests of a short round: an import, a boot of systemd and of busybox with login, reboot and power-off, `run`, `exec`,
/// binds, `rm`.
const SHORT: &[&str] = &[
    "boot::bookworm_systemd_attended",
    "boot::bookworm_busybox_attended",
    "hostile::mount_points_lead_nowhere",
    "isolation::no_inherited_descriptors",
    "run::",
    "sources::gzip_tarball",
];

/// Calls without which no file system can be ID-mapped.
const MAPPING: &[&str] = &["open_tree", "move_mount", "mount_setattr"];

/// Tests of what a user namespace gives, which have nothing to look at without one.
const OF_MAPPING: &[&str] = &[
    "faults::together::no_two_machines_share_a_range_of_ids",
    "isolation::ids_are_shifted",
    "isolation::kernel_settings_cannot_be_changed",
    "isolation::options::devices_can_be_used_as_far_as_was_said",
    "isolation::options::privileged_says_what_it_gives_away",
    "hosts::file_systems_without_id_mapping",
];

/// Tests that the filter itself would fail: they count filters, or build repot instead of taking the one named.
const OF_FILTERS: &[&str] = &[
    "isolation::options::a_seccomp_profile_applies_to_the_machine_and_its_sessions",
    "quickstart::",
];

/// The tests that are left out for a set.
fn left_out(calls: &str) -> Vec<&'static str> {
    let lacks_mapping = calls
        .split(',')
        .any(|call| MAPPING.contains(&call.split('=').next().unwrap_or(call)));
    let mut names = OF_FILTERS.to_vec();
    if lacks_mapping {
        names.extend(OF_MAPPING);
    }
    names
}

/// `cargo xtask without CALLS -- PROGRAM ARGS`: becomes the program, without these calls.
///
/// # Errors
/// An unknown call or answer; the filter needs CAP_SYS_ADMIN; the program cannot be executed.
pub(crate) fn without(calls: &str, program: &[&str]) -> Result<()> {
    let (name, args) = program.split_first().context("naming a program")?;
    repot_sys::install_filter(&filter(calls)?)
        .context("installing the filter, which needs root")?;
    Err(Command::new(name).args(args).exec()).with_context(|| format!("executing {name}"))
}

/// `cargo xtask old-kernels [--short] [--set CALLS|all]... [TEST...]`: all tests that have something to look at, or those whose names hold one of the texts.
///
/// # Errors
/// A test has failed, or cargo cannot be started.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (mut sets, mut tests) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--short" => tests.extend(SHORT),
            "--set" => sets.push(
                match *args.next().context("reading the calls after --set")? {
                    "all" => ALL,
                    calls => calls,
                },
            ),
            test => tests.push(test),
        }
    }
    if sets.is_empty() {
        sets.extend(SETS);
    }
    let repot = built()?;
    let mut rows = Vec::new();
    for set in sets {
        println!("=== without {set}");
        let started = Instant::now();
        let (passed, failed) = tests_without(set, &repot, &tests)?;
        rows.push((set, passed, failed, started.elapsed().as_secs()));
    }
    println!("| without | passed | failed | seconds |\n| --- | --- | --- | --- |");
    for (set, passed, failed, seconds) in &rows {
        let names = if failed.is_empty() {
            "0".to_owned()
        } else {
            failed.join(", ")
        };
        println!("| `{set}` | {passed} | {names} | {seconds} |");
    }
    ensure!(
        rows.iter().all(|(_, _, failed, _)| failed.is_empty()),
        "tests have failed"
    );
    Ok(())
}

/// Builds repot, unless `$REPOT_BIN` names one.
fn built() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("REPOT_BIN") {
        return Ok(path.into());
    }
    crate::cargo("build --package repot")?;
    // Beside this program.
    let own = std::env::current_exe().context("finding this program")?;
    Ok(own.with_file_name("repot"))
}

/// Runs the tests; how many have passed, and the names of those that have not.
fn tests_without(calls: &str, repot: &Path, tests: &[&str]) -> Result<(usize, Vec<String>)> {
    filter(calls)?;
    let own = std::env::current_exe().context("finding this program")?;
    let script = own.with_file_name("repot-without");
    let text = format!(
        "#!/bin/sh\nexec '{}' without {calls} -- '{}' \"$@\"\n",
        own.display(),
        repot.display()
    );
    std::fs::write(&script, text)
        .and_then(|()| std::fs::set_permissions(&script, Permissions::from_mode(0o755)))
        .with_context(|| format!("writing {}", script.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // With the features that the whole workspace is built with, so that nothing is built again.
        .args(["test", "-q", "--workspace", "--test", "e2e", "--"])
        .args(["--test-threads", "2", "--format", "pretty"])
        .args(left_out(calls).iter().flat_map(|name| ["--skip", name]))
        .args(tests)
        .current_dir(root())
        .env("REPOT_BIN", &script)
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::inherit())
        .output()
        .context("starting the tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let results = |end| {
        text.lines()
            .filter_map(move |line| line.strip_prefix("test ")?.strip_suffix(end))
    };
    let passed = results(" ... ok").count();
    let failed: Vec<String> = results(" ... FAILED").map(str::to_owned).collect();
    if passed + failed.len() == 0 || output.status.success() != failed.is_empty() {
        bail!(
            "the tests without {calls} did not run to their end: {}",
            output.status
        );
    }
    Ok((passed, failed))
}

/// A filter that answers `CALL[=ANSWER],...` (classic BPF, linux/filter.h; seccomp(2), "struct seccomp_data").
fn filter(calls: &str) -> Result<Vec<Instruction>> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NUMBER_AT: u32 = 0;
    const RET_ALLOW: u32 = 0x7fff_0000;
    const RET_ERRNO: u32 = 0x0005_0000;
    let op = |code, jf, k| Instruction { code, jt: 0, jf, k };
    let find = |table: &[(&str, u32)], name: &str| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, number)| *number).with_context(|| {
            let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is none of {}", known.join(", "))
        })
    };
    let mut program = vec![op(LOAD, 0, NUMBER_AT)];
    for call in calls.split(',') {
        let (name, answer) = call.split_once('=').unwrap_or((call, "ENOSYS"));
        program.push(op(JUMP_IF_EQUAL, 1, find(CALLS, name)?));
        program.push(op(RETURN, 0, RET_ERRNO | find(ANSWERS, answer)?));
    }
    program.push(op(RETURN, 0, RET_ALLOW));
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sets_assemble() {
        for set in SETS {
            let calls = set.split(',').count();
            assert_eq!(filter(set).unwrap().len(), 2 + 2 * calls, "{set}");
        }
        assert_eq!(ALL.split(',').count(), CALLS.len());
        assert_eq!(left_out("openat2,mount_setattr=EINVAL").len(), 8);
        assert_eq!(left_out("openat2").len(), 2);
        assert!(filter("open").is_err() && filter("openat2=EIO").is_err());
    }
}
