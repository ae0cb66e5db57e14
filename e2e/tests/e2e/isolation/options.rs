//! The options that change what a machine may do: kept in its record, the same for its sessions.

use std::fs;

use anyhow::{Result, ensure};

use super::small;
use crate::sandbox::{Sandbox, utf8};

const STATUS: &[&str] = &[
    "grep",
    "-E",
    "^(CapBnd|CapEff|Seccomp):",
    "/proc/self/status",
];

/// The bounding set, the effective set, and the mode of the filter.
fn privileges(text: &str) -> Result<Vec<u64>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(_, value)| Ok(u64::from_str_radix(value.trim(), 16)?))
        .collect()
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const SYSLOG: u64 = 1 << 34;

#[test]
fn capabilities_are_added_dropped_and_remembered() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let run = [
        &[
            "run",
            "--drop-capability",
            "all",
            "--capability",
            "cap_chown,syslog",
            &tree,
        ][..],
        STATUS,
    ];
    let got = privileges(&sandbox.ok(&run.concat())?)?;
    ensure!(got == [CHOWN | SYSLOG, CHOWN | SYSLOG, 2], "{got:x?}");

    let name = sandbox.name();
    let options = ["--capability", "syslog", "--drop-capability", "KILL"];
    sandbox.ok(&[&["boot", &tree, "-d", "-n", &name][..], &options].concat())?;
    let with = |bounding: u64| bounding & SYSLOG != 0 && bounding & KILL == 0;
    let session = || privileges(&sandbox.exec(&name, STATUS)?);
    ensure!(
        session()?.iter().take(2).all(|set| with(*set)),
        "{:x?}",
        session()?
    );
    let decided = sandbox.status(&name)?["running"]["spec"]["decisions"].to_string();
    ensure!(
        decided.contains("capabilities: ") && decided.contains("SYSLOG"),
        "{decided}"
    );

    // The next boot has them without being told, until it is told otherwise.
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(
        session()?.iter().take(2).all(|set| with(*set)),
        "{:x?}",
        session()?
    );
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d", "--seccomp", "default"])?;
    ensure!(
        session()?[0] & KILL != 0 && session()?[0] & SYSLOG == 0,
        "{:x?}",
        session()?
    );

    let wrong = sandbox.expect(&["run", "--capability", "CAP_FLY", &tree, "true"], 125)?;
    ensure!(wrong.err().contains("--capability CAP_FLY"), "{wrong}");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn a_seccomp_profile_applies_to_the_machine_and_its_sessions() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let file = sandbox.dir().join("profile.json");
    fs::write(
        &file,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_ARM"],
            "syscalls": [{"names": ["sethostname", "a_call_of_the_future"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    )?;
    let profile = utf8(&file)?;
    let name_it = ["hostname", "other"];
    sandbox.ok(&[&["run", &tree][..], &name_it].concat())?;
    let refused = |done: repot_e2e::process::Done| -> Result<()> {
        ensure!(done.err().contains("Operation not supported"), "{done}");
        Ok(())
    };
    let run = [&["run", "--seccomp", &profile, &tree][..], &name_it];
    // The machine's own name is set before the filter is.
    refused(sandbox.expect(&run.concat(), 1)?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name, "--seccomp", &profile])?;
    refused(sandbox.expect(&[&["exec", &name][..], &name_it].concat(), 1)?)?;
    fs::remove_file(&file)?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d"])?;
    refused(sandbox.expect(&[&["exec", &name][..], &name_it].concat(), 1)?)?;
    let without = [&["run", "--seccomp", "unconfined", &tree][..], STATUS];
    ensure!(privileges(&sandbox.ok(&without.concat())?)?[2] == 0);

    fs::write(
        &file,
        "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": [{\"names\": 1}]}",
    )?;
    let wrong = sandbox.expect(&["run", "--seccomp", &profile, &tree, "true"], 125)?;
    ensure!(
        wrong.err().contains(&profile) && wrong.err().contains("line 2"),
        "{wrong}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn devices_can_be_used_as_far_as_was_said() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let script = "head -c 3 /dev/whole | wc -c; head -c 3 /dev/part | wc -c; echo x >/dev/whole && echo written
        chmod 666 /dev/part || echo x >/dev/part || echo kept";
    let run = [
        "run",
        "--device",
        "/dev/zero:/dev/whole",
        "--device",
        "/dev/zero:/dev/part:r",
        &tree,
        "sh",
        "-c",
        script,
    ];
    let done = sandbox.expect(&run, 0)?;
    ensure!(done.out() == "3\n3\nwritten\nkept\n", "{done}");
    // Without a user namespace root disregards the mode, so that is not promised.
    let run = [
        "run",
        "--userns",
        "no",
        "--device",
        "/dev/zero:/dev/part:r",
        &tree,
        "true",
    ];
    let refused = sandbox.expect(&run, 125)?;
    ensure!(refused.err().contains("--device /dev/zero:r"), "{refused}");
    let name = sandbox.name();
    sandbox.ok(&[
        "boot",
        &tree,
        "-d",
        "-n",
        &name,
        "--device",
        "/dev/zero:/srv/zero",
    ])?;
    let read = [
        "sh",
        "-c",
        "ls -ln /srv/zero | cut -c1-10; head -c 2 /srv/zero | wc -c",
    ];
    ensure!(sandbox.exec(&name, &read)? == "crw-rw-rw-\n2");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn privileged_says_what_it_gives_away() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let name = sandbox.name();
    let done = sandbox.expect(&["boot", &tree, "-d", "-n", &name, "--privileged"], 0)?;
    ensure!(
        done.err()
            .contains("is privileged, which gives away every capability"),
        "{done}"
    );
    let status = sandbox.status(&name)?;
    let spec = &status["running"]["spec"];
    ensure!(
        spec["decisions"].to_string().contains("privileged"),
        "{spec}"
    );
    ensure!(spec["idmap"]["kind"] == "shifted", "{spec}");
    let mounts = sandbox.exec(
        &name,
        &["sh", "-c", "grep -c ' /proc/' /proc/self/mounts; true"],
    )?;
    // The kernel's command line is covered for the sake of inits, not of the host.
    ensure!(mounts == "1", "{mounts}");
    let got = privileges(&sandbox.exec(&name, STATUS)?)?;
    ensure!(
        got[0] & SYSLOG != 0 && got[0].count_ones() >= 38 && got[2] == 0,
        "{got:x?}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}
