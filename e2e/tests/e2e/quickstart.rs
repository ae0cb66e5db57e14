//! The README's first command: from a clone to the login prompt of a real Debian.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::process;

use crate::sandbox::{LONG, SHORT, Sandbox};
use crate::session;

/// On a fresh machine it installs packages, builds repot with optimisation and a tree from packages.
const FIRST_TIME: Duration = Duration::from_secs(30 * 60);

fn quickstart(sandbox: &Sandbox) -> Result<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("finding the repository")?;
    let mut command = Command::new(root.join("quickstart"));
    command
        .env("REPOT_DATA_DIR", sandbox.data())
        .env("REPOT_RUN_DIR", sandbox.running())
        .env("REPOT_PREFIX", sandbox.dir().join("prefix"))
        .env("REPOT_NAME", sandbox.name());
    Ok(command)
}

/// One after the other, since both build: with a terminal it ends at a login prompt, without one in the background.
#[test]
fn first_command_of_the_readme() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut console = Console::spawn(&quickstart(&sandbox)?)?;
    console.expect("password: repot", FIRST_TIME)?;
    session::login(&mut console)?;
    let id = console.run(
        ". /etc/os-release; echo $ID $VERSION_ID; systemctl --failed --no-legend | wc -l",
        SHORT,
    )?;
    ensure!(id == "debian 12\n0\n", "{id:?}");
    console.send_line("poweroff")?;
    let status = console.wait_exit(LONG)?;
    ensure!(status.code() == Some(0), "quickstart ended with {status}");

    let mut command = quickstart(&sandbox)?;
    let name = sandbox.last_name();
    let done = process::run(&mut command, b"", FIRST_TIME)?;
    ensure!(done.code == 0, "quickstart: {done}");
    ensure!(
        done.out().contains("is ready after") && done.out().contains(&name),
        "{done}"
    );
    ensure!(
        done.err().contains("no terminal") && done.err().contains(&format!("repot stop {name}")),
        "{done}"
    );
    ensure!(sandbox.state(&name)? == "running");
    sandbox.ok(&["stop", &name])?;
    for row in sandbox.names()? {
        sandbox.ok(&["rm", &row])?;
    }
    sandbox.finish()
}
