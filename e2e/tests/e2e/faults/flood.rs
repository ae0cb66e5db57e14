//! Machines that write to their console without end.

use anyhow::{Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, SHORT, Sandbox};

/// Writes without end, in the background, as fast as it is taken; says when it has begun.
const FLOOD: &str =
    "yes 'a line of a flood' >/dev/console 2>&1 & yes 'another' >/dev/console 2>&1 & echo begun";

fn flooded(sandbox: &Sandbox, name: &str) -> Result<()> {
    let said = sandbox.exec(name, &["sh", "-c", FLOOD])?;
    ensure!(said == "begun", "{said}");
    Ok(())
}

/// It can be looked at, stopped and removed: while nobody reads, while somebody does, and while somebody is attached who does not
/// read what comes.
#[test]
fn a_flooded_console_hinders_nobody() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    let mut deaf: Option<Console> = None;
    for is_attached in [false, true] {
        sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
        if is_attached {
            // Read until it shows something, then no more.
            let mut console = sandbox.console(&["attach", &name])?;
            console.send_line("")?;
            console.expect("login:", SHORT)?;
            deaf = Some(console);
        }
        flooded(&sandbox, &name)?;
        ensure!(sandbox.exec(&name, &["echo", "here"])? == "here");
        sandbox.ok(&["status", &name])?;
        sandbox.ok(&["logs", &name])?;
        sandbox.ok(&["stop", &name])?;
        if let Some(console) = &mut deaf {
            ensure!(console.wait_exit(LONG)?.code().is_some());
        }
        sandbox.ok(&["rm", &name])?;
    }
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    flooded(&sandbox, &name)?;
    let mut reader = sandbox.console(&["attach", &name])?;
    reader.expect("a line of a flood", SHORT)?;
    sandbox.ok(&["stop", &name])?;
    ensure!(reader.wait_exit(LONG)?.code().is_some());
    // What is kept of it has a limit.
    let log = std::fs::metadata(
        sandbox
            .data()
            .join("machines")
            .join(&name)
            .join("console.log"),
    )?;
    ensure!(log.len() <= 1 << 20, "the log has {} bytes", log.len());
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// Nor is it in the way of its reboot, at which sysvinit throws away what nobody has read yet.
#[test]
fn a_flooded_machine_restarts() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    flooded(&sandbox, &name)?;
    sandbox.ok(&["reboot", &name])?;
    ensure!(sandbox.status(&name)?["running"]["boots"] == 2);
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}
