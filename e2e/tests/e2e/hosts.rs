//! Hosts that are unlike this one: other cgroup hierarchies. Each command of repot sees them in a mount namespace of its
//! own, so nothing changes for others here.

use anyhow::{Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{SHORT, Sandbox};

/// Nothing mounted but cgroup2, as systemd has it since version 256.
const PURE_V2: &str = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";

/// The v1 controllers and `name=systemd` alone, as on RHEL 8. No init of today does with that: repot mounts cgroup2 privately.
const PURE_V1: &str = "umount $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts)";

/// Boots, joins, restarts, is killed, and is collected by the next command.
fn lives(host: &str, tree: &str, expected: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.on_a_host(host);
    let base = sandbox.base(Tree::named(tree)?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &base, "-d", "-n", &name])?;
    let mounted = sandbox.exec(&name, &["sh", "-c", "grep cgroup /proc/mounts"])?;
    let types: Vec<&str> = mounted
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    ensure!(types == [expected], "mounted in the machine: {mounted}");
    // What joins is in the machine's cgroup: a path that leads out of it would begin with "/..".
    for own in [&["cat", "/proc/1/cgroup"], &["cat", "/proc/self/cgroup"]] {
        let cgroups = sandbox.exec(&name, own)?;
        ensure!(
            !cgroups.contains("..") && cgroups.contains("0::/"),
            "cgroups of {}: {cgroups}",
            own[1]
        );
    }
    sandbox.ok(&["reboot", &name])?;
    let supervisor = &sandbox.status(&name)?["running"]["supervisor_pid"];
    let supervisor = supervisor
        .as_i64()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(supervisor.unwrap_or(Pid::INIT), Signal::KILL)?;
    process::until("the machine has stopped", SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    sandbox.ok(&["boot", &name, "-d"])?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn cgroup2_alone() -> Result<()> {
    lives(PURE_V2, "bookworm-systemd", "cgroup2")
}

#[test]
fn cgroup1_alone() -> Result<()> {
    lives(PURE_V1, "bookworm-systemd", "cgroup2")
}
