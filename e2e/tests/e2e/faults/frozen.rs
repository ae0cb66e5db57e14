//! Machines that somebody has frozen: they can be ended, and nothing waits for them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{SHORT, Sandbox};

/// Freezes all processes of a machine, in each hierarchy that can: v1's freezer and cgroup2.
fn freeze(name: &str) -> Result<()> {
    let mut is_frozen = false;
    let cgroups = repot_e2e::host::cgroups()?;
    for dir in cgroups.iter().filter(|dir| dir.ends_with(name)) {
        let dir = PathBuf::from(dir);
        for (file, word) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
            if dir.join(file).exists() {
                fs::write(dir.join(file), word).context("freezing it")?;
                is_frozen = true;
            }
        }
    }
    ensure!(is_frozen, "no cgroup of {name} can be frozen");
    Ok(())
}

#[test]
fn a_frozen_machine_can_be_ended() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    freeze(&name)?;
    // What would be frozen with it is not started, and what only looks does not wait.
    let done = sandbox.expect(&["exec", &name, "true"], 125)?;
    ensure!(done.err().contains("is frozen"), "{done}");
    ensure!(sandbox.state(&name)? == "running");
    sandbox.ok(&["status", &name])?;
    let done = sandbox.expect(&["stop", "--timeout", "1", &name], 1)?;
    ensure!(
        done.err().contains("was killed") && done.err().contains("is frozen"),
        "{done}"
    );
    for end in [&["kill", &name][..], &["rm", "--force", &name]] {
        sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
        freeze(&name)?;
        sandbox.ok(end)?;
        sandbox
            .ok(&["rm", "--force", &name])
            .or_else(|error| match end[0] {
                "rm" => Ok(String::new()),
                _ => Err(error),
            })?;
    }
    sandbox.finish()
}

/// PID 1 is to die with its supervisor, and cannot: the next command sees to it.
#[test]
fn a_frozen_machine_whose_supervisor_was_killed_is_collected() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    freeze(&name)?;
    let supervisor = &sandbox.status(&name)?["running"]["supervisor_pid"];
    let supervisor = supervisor.as_i64().and_then(|pid| i32::try_from(pid).ok());
    let supervisor = supervisor
        .and_then(Pid::from_raw)
        .context("reading a PID")?;
    kill_process(supervisor, Signal::KILL)?;
    process::until("it has stopped", SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// A machine may freeze its own processes, with those of repot that have entered it.
#[test]
fn a_machine_that_freezes_itself() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-systemd")?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    let script = "echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze";
    let mut session = sandbox
        .command(&["exec", &name, "sh", "-c", script])?
        .spawn()?;
    let scope = format!("{name}/init.scope");
    process::until("it is frozen", SHORT, || {
        let cgroups = repot_e2e::host::cgroups()?;
        let dirs = cgroups.iter().filter(|dir| dir.ends_with(&scope));
        Ok(dirs
            .filter_map(|dir| fs::read_to_string(format!("{dir}/cgroup.events")).ok())
            .any(|events| events.contains("frozen 1")))
    })?;
    let done = sandbox.expect(&["exec", &name, "true"], 125)?;
    ensure!(done.err().contains("is frozen"), "{done}");
    sandbox.ok(&["rm", "--force", &name])?;
    process::wait(&mut session, SHORT)?;
    sandbox.finish()
}
