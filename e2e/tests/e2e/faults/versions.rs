//! A machine that another version of repot has started.

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::Tree;
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A state file as format 1 had it.
const FORMAT_1: &str = include_str!("state-1.json");

/// Boots a machine whose state looks as if that text had been written by its supervisor.
fn foreign(sandbox: &Sandbox, tree: &str, text: &str) -> Result<String> {
    let name = sandbox.name();
    sandbox.ok(&["boot", tree, "-d", "-n", &name])?;
    let path = sandbox.running().join(&name).join("state.json");
    let own: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let mut state: Value = serde_json::from_str(text)?;
    for field in [
        "supervisor_pid",
        "supervisor_start",
        "leader_pid",
        "leader_start",
    ] {
        state[field] = own.get(field).context("reading the state")?.clone();
    }
    std::fs::write(&path, serde_json::to_vec(&state)?)?;
    Ok(name)
}

/// It is listed, what needs its supervisor's language says why not, and it can be ended and removed.
#[test]
fn a_machine_of_another_version_can_be_ended() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    // Later formats may have dropped all but the header.
    for text in [FORMAT_1, r#"{"version": 4000}"#] {
        let ends: [&[&str]; 3] = [&["stop"], &["kill"], &["rm", "--force"]];
        for end in ends {
            let name = foreign(&sandbox, &tree, text)?;
            ensure!(sandbox.state(&name)? == "running", "{text}");
            for refused in [&["status", &name], &["attach", &name], &["reboot", &name]] {
                let done = sandbox.expect(refused, 3)?;
                ensure!(
                    done.err().contains("another version") && done.err().contains("repot stop"),
                    "{refused:?}: {done}"
                );
            }
            let done = sandbox.expect(&["exec", &name, "/bin/true"], 125)?;
            ensure!(done.err().contains("another version"), "{done}");
            let done = sandbox.expect(&["boot", &tree, "-d", "-n", &name], 3)?;
            ensure!(done.err().contains("running already"), "{done}");
            sandbox.expect(&["rm", &name], 3)?;
            sandbox.ok(&[end, &[&name]].concat())?;
            sandbox.ok(&["rm", "--force", &name])?;
        }
    }
    sandbox.finish()
}

/// What a killed supervisor of another version left is collected as always.
#[test]
fn a_crash_of_another_version_is_cleaned_up() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = foreign(&sandbox, &tree, FORMAT_1)?;
    let state = std::fs::read(sandbox.running().join(&name).join("state.json"))?;
    let state: Value = serde_json::from_slice(&state)?;
    let pid = state["supervisor_pid"].as_i64().context("a PID")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a PID")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    repot_e2e::process::until("it is seen as stopped", crate::sandbox::SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    sandbox.ok(&["boot", &name, "-d"])?;
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}

/// A record of another version is refused, and left as it is.
#[test]
fn a_record_of_another_version_is_not_touched() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    sandbox.ok(&["run", &tree, "-n", &name, "/bin/true"])?;
    let path = sandbox
        .data()
        .join("machines")
        .join(&name)
        .join("machine.json");
    let later = r#"{"version": 4000, "what": "a later repot knows"}"#;
    std::fs::write(&path, later)?;
    for refused in [&["boot", &name, "-d"][..], &["status", &name]] {
        let done = sandbox.expect(refused, 3)?;
        ensure!(done.err().contains("version 4000"), "{refused:?}: {done}");
    }
    sandbox.ok(&["list"])?;
    ensure!(std::fs::read_to_string(&path)? == later, "it was changed");
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
