//! More keys at once than any buffer on the way holds.

use anyhow::{Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, SHORT, Sandbox};

const LENGTH: usize = 1 << 20;

/// Pastes into a program that reads all of it only after a while, and compares what arrived.
fn paste(console: &mut Console) -> Result<()> {
    let text: String = (0..LENGTH / 8)
        .map(|number| format!("{number:07} "))
        .collect();
    console.send_line(&format!(
        "stty raw -echo; echo rea''dy; sleep 1; head -c {LENGTH} >/tmp/paste; stty sane; echo do''ne"
    ))?;
    console.expect("ready", SHORT)?;
    console.send(&text)?;
    console.expect("done", LONG)?;
    let expected = console.run(
        &format!(
            "i=0; while [ $i -lt {} ]; do printf '%07d ' $i; i=$((i+1)); done | cmp - /tmp/paste",
            LENGTH / 8
        ),
        LONG,
    )?;
    ensure!(expected.trim().is_empty(), "it arrived changed: {expected}");
    Ok(())
}

/// On the console, whose keys go through the supervisor, and in a session of its own.
#[test]
fn a_long_paste_arrives_whole() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?.with_password())?;
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &tree, "-n", &name])?;
    console.login("root", "repot", LONG)?;
    paste(&mut console)?;
    let mut shell = sandbox.console(&["shell", &name])?;
    shell.expect("# ", LONG)?;
    paste(&mut shell)?;
    shell.send_line("exit")?;
    shell.wait_exit(SHORT)?;
    console.send_line("poweroff")?;
    console.wait_exit(LONG)?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
