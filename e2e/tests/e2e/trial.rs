//! `repot try`: what it says, and what an interrupt leaves.

use anyhow::{Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;

use crate::sandbox::{LONG, Sandbox};

#[test]
fn the_table_and_its_exit_code() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let done = sandbox.expect(&["try", &tree, "--on", "native", "--json"], 0)?;
    let document: serde_json::Value = serde_json::from_str(&done.out())?;
    let row = &document[0];
    ensure!(
        row["engine"] == "native" && row["result"] == "login" && row["stop_clean"] == true,
        "{done}"
    );
    // Nothing was tried where the user wanted it.
    sandbox.expect(&["try", &tree, "--on", "wsl"], 1)?;
    ensure!(sandbox.names()?.is_empty(), "{:?}", sandbox.names()?);
    sandbox.finish()
}

#[test]
fn an_interrupt_takes_the_machine_along() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let mut child = sandbox
        .command(&["try", &tree, "--on", "native"])?
        .spawn()?;
    process::until("a machine is there", LONG, || {
        Ok(!sandbox.names()?.is_empty())
    })?;
    let pid = i32::try_from(child.id())?;
    kill_process(Pid::from_raw(pid).unwrap_or(Pid::INIT), Signal::INT)?;
    let status = process::wait(&mut child, LONG)?;
    ensure!(status.signal() == Some(2), "it ended with {status}");
    ensure!(sandbox.names()?.is_empty(), "{:?}", sandbox.names()?);
    sandbox.finish()
}
