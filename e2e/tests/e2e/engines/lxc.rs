//! LXC's own tools.

use anyhow::{Context, Result, ensure};
use std::process::Command;

use crate::boot::{BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};
use crate::sandbox::{LONG, SHORT, Sandbox};
use repot_e2e::console::Console;
use repot_e2e::process;
use repot_e2e::trees::Tree;

super::all_trees!(super::cells, "lxc");

#[test]
fn kept_systemd() -> Result<()> {
    super::kept(&BOOKWORM_SYSTEMD, "lxc")
}

#[test]
fn kept_sysvinit() -> Result<()> {
    super::kept(&BOOKWORM_SYSVINIT, "lxc")
}

#[test]
fn orphaned() -> Result<()> {
    super::orphaned(&BOOKWORM_RUNIT, "lxc")
}

/// What people of LXC type works on a machine that repot has started: the console of a terminal, a command, the state, and
/// the stop, which asks the init by the signal of the machine's configuration.
#[test]
fn its_own_programs() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?.with_password())?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "--on", "lxc", "-d", "-n", &name])?;
    let folder = sandbox.data().join("machines").join(&name).join("lxc");
    let tool = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .arg("-P")
            .arg(&folder)
            .args(["-n", &name])
            .args(args);
        command
    };
    let said = process::run(&mut tool("lxc-info", &["-sH"]), b"", SHORT)?;
    ensure!(said.out() == "RUNNING\n", "lxc-info: {said}");
    let said = process::run(
        &mut tool(
            "lxc-attach",
            &["--clear-env", "--", "/bin/cat", "/proc/1/comm"],
        ),
        b"",
        SHORT,
    )?;
    ensure!(said.out() == "init\n", "lxc-attach: {said}");

    let mut console = Console::spawn(&tool("lxc-console", &["-t", "1"]))?;
    console.expect("Type <Ctrl+a q>", SHORT)?;
    console.send("\r")?;
    crate::session::login(&mut console).context("on tty1")?;
    let said = console.run("tty", SHORT)?;
    ensure!(said.contains("/dev/tty1"), "{said:?}");
    console.send("\x01q")?;
    console.wait_exit(SHORT)?;

    let said = process::run(&mut tool("lxc-stop", &["-t", "60"]), b"", LONG)?;
    ensure!(said.code == 0, "lxc-stop: {said}");
    process::until("the machine is stopped", SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
