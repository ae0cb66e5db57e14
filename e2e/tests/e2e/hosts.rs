//! Hosts that are unlike this one: other cgroup hierarchies, other file systems. Each command of repot sees them in a mount namespace of its
//! own, so nothing changes for others here.

use anyhow::{Context, Result, ensure};
use repot_e2e::daemon::Daemon;
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::boot::{BOOKWORM_OPENRC, BOOKWORM_SYSTEMD};
use crate::engines;
use crate::sandbox::{SHORT, Sandbox, utf8};

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

/// Docker on such a host, with an init that wants cgroups and one that does not.
#[test]
fn docker_on_cgroup2_alone() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let (dir, id) = (sandbox.dir().to_owned(), sandbox.id().to_owned());
    let daemon = Daemon::docker_on(&dir, &id, PURE_V2)?;
    sandbox.put_env(daemon.env());
    let namespace = format!("--mount=/proc/{}/ns/mnt", daemon.pid().unwrap_or(0));
    sandbox.put_around(&["nsenter", &namespace, "--"]);
    for case in [&BOOKWORM_SYSTEMD, &BOOKWORM_OPENRC] {
        engines::cell_in(&mut sandbox, case, "docker").context(case.tree)?;
    }
    daemon.end()?;
    sandbox.finish()
}

/// A file system that cannot be ID-mapped, as overlayfs itself is: with a tree or a bind on it there is no user namespace, and
/// that is said; with `--userns yes` there is no machine.
#[test]
fn file_systems_without_id_mapping() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let (point, empty) = (sandbox.dir().join("overlay"), sandbox.dir().join("empty"));
    std::fs::create_dir(&point)?;
    std::fs::create_dir(&empty)?;
    let (point, empty) = (utf8(&point)?, utf8(&empty)?);
    sandbox.on_a_host(&format!(
        "mount -t overlay -o lowerdir={tree}:{empty} overlay {point}"
    ));
    let bind = format!("{point}:/mnt");
    let sources: [&[&str]; 2] = [&[&point], &["--bind", &bind, &tree]];
    for source in sources {
        let run = |before: &[&str], command: &[&str], code| {
            sandbox.expect(&[before, source, command].concat(), code)
        };
        let done = run(&["run"], &["cat", "/proc/self/uid_map"], 0)?;
        let map = done.out();
        ensure!(
            map.split_whitespace().eq(["0", "0", "4294967295"]),
            "{done}"
        );
        let name = sandbox.name();
        run(&["boot", "-d", "-n", &name], &[], 0)?;
        let decisions = sandbox.status(&name)?["running"]["spec"]["decisions"].to_string();
        let said = format!("the file system of {point} cannot be ID-mapped (Invalid argument");
        ensure!(decisions.contains(&said), "{decisions}");
        sandbox.ok(&["rm", "-f", &name])?;
        let refused = run(&["run", "--userns", "yes"], &["true"], 125)?;
        ensure!(refused.err().contains(&point), "{refused}");
    }
    sandbox.finish()
}
