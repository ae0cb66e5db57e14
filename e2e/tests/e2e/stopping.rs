//! Ends of machines: inits that hang, signals, several at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, SHORT, Sandbox};

fn sandbox() -> Result<(Sandbox, String)> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    Ok((sandbox, tree))
}

/// Boots a program that is no init and listens to nothing.
fn hung(sandbox: &Sandbox, tree: &str) -> Result<String> {
    let name = sandbox.name();
    let boot = [
        "boot",
        tree,
        "-n",
        &name,
        "-d",
        "--timeout",
        "1",
        "--init",
        "/bin/sleep",
        "1000",
    ];
    let done = sandbox.expect(&boot, 3)?;
    ensure!(
        done.err().contains("not ready") && done.err().contains("goes on running"),
        "{done}"
    );
    Ok(name)
}

#[test]
fn a_hung_init_is_killed_and_that_is_said() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = hung(&sandbox, &tree)?;
    let started = Instant::now();
    let done = sandbox.expect(&["stop", "--timeout", "2", &name], 1)?;
    ensure!(done.err().contains("was killed"), "{done}");
    let took = started.elapsed();
    ensure!(took >= Duration::from_secs(2), "it took {took:?}");
    ensure!(sandbox.state(&name)? == "stopped");
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn a_hung_reboot_is_forced_and_that_is_said() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = hung(&sandbox, &tree)?;
    let done = sandbox.expect(&["reboot", "--timeout", "1", &name], 1)?;
    ensure!(done.err().contains("killed"), "{done}");
    ensure!(sandbox.status(&name)?["running"]["boots"] == 2);
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn signals_to_the_init() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    // For busybox, SIGTERM means reboot and SIGUSR2 power off.
    sandbox.ok(&["kill", "--signal", "SIGTERM", &name])?;
    process::until("it has restarted", SHORT, || {
        Ok(sandbox.status(&name)?["running"]["boots"] == 2)
    })?;
    process::until("it is up again", SHORT, || {
        Ok(sandbox.state(&name)? == "running")
    })?;
    sandbox.ok(&["kill", "-s", "USR2", &name])?;
    process::until(
        "it is off",
        SHORT,
        || Ok(sandbox.state(&name)? == "stopped"),
    )?;
    let done = sandbox.expect(&["kill", &name], 3)?;
    ensure!(
        done.err().contains("not running") && done.err().contains(&format!("repot boot {name}")),
        "{done}"
    );
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// `--all` stops every machine at the same time; one that must be killed makes the status 1.
#[test]
fn all_at_once() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let (one, two) = (sandbox.name(), sandbox.name());
    for name in [&one, &two] {
        sandbox.ok(&["boot", &tree, "-d", "-n", name])?;
    }
    sandbox.ok(&["stop", "--all"])?;
    ensure!(sandbox.state(&one)? == "stopped" && sandbox.state(&two)? == "stopped");
    sandbox.ok(&["stop", "--all"])?;
    let hung = hung(&sandbox, &tree)?;
    sandbox.ok(&["boot", &one, "-d"])?;
    sandbox.expect(&["stop", "--all", "--timeout", "3"], 1)?;
    ensure!(sandbox.state(&hung)? == "stopped");
    sandbox.ok(&["rm", &one, &two, &hung])?;
    sandbox.finish()
}

/// A machine whose init dies is over, and whoever is attached learns why.
#[test]
fn an_init_that_dies() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = sandbox.name();
    let mut console = sandbox.console(&[
        "boot",
        &tree,
        "-n",
        &name,
        "--init",
        "/bin/sh",
        "--",
        "-c",
        "echo bye; exit 9",
    ])?;
    let status = console.wait_exit(LONG)?;
    ensure!(
        status.code() == Some(3) && console.text().contains("exited with status 9"),
        "{status}: {}",
        console.text()
    );
    ensure!(
        console.text().contains("bye"),
        "its last words are missing: {}",
        console.text()
    );
    ensure!(sandbox.ok(&["logs", &name])?.contains("bye"));
    sandbox.ok(&["rm", &name])?;
    let done = sandbox.expect(
        &["boot", &tree, "-n", &name, "-d", "--init", "/no/such/init"],
        3,
    )?;
    ensure!(done.err().contains("/no/such/init"), "{done}");
    ensure!(
        sandbox.row(&name)?.is_none(),
        "a machine that never ran is listed"
    );
    sandbox.finish()
}

/// Attached twice: both see the console; the end of the machine ends both.
#[test]
fn two_are_attached() -> Result<()> {
    let (sandbox, _) = sandbox()?;
    let tree = Tree::named("bookworm-busybox")?.with_password().ensure()?;
    let name = sandbox.name();
    let tree = crate::sandbox::utf8(&tree)?;
    let mut first = sandbox.console(&["boot", &tree, "-n", &name])?;
    first.login("root", "repot", LONG)?;
    let mut second = sandbox.console(&["attach", &name])?;
    second.expect("login:", SHORT)?;
    first.send_line("echo se''en")?;
    for console in [&mut first, &mut second] {
        console.expect("seen\n", SHORT)?;
    }
    second.send_line("poweroff")?;
    for console in [&mut first, &mut second] {
        ensure!(
            console.wait_exit(LONG)?.code() == Some(0),
            "{}",
            console.text()
        );
    }
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
