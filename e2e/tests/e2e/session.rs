//! What a person checks in a shell: identity, terminal, job control, window size, bytes that pass through.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::console::Console;
use repot_e2e::process;

use crate::sandbox::{LONG, SHORT};

/// What a shell is expected to say.
#[derive(Debug, Clone, Copy)]
pub struct Shell<'a> {
    /// `tty(1)`, as a regular expression.
    pub tty: &'a str,
    /// `/proc/1/comm`.
    pub comm: &'a str,
}

/// All checks of a root shell whose prompt is on the screen.
pub fn check(console: &mut Console, shell: Shell<'_>) -> Result<()> {
    identity(console, shell)?;
    job_control(console)?;
    bytes(console)?;
    window_size(console)
}

fn identity(console: &mut Console, shell: Shell<'_>) -> Result<()> {
    // Inits write on the console too, so the answer may have company.
    let tty = console.run("tty", SHORT)?;
    let wanted = Regex::new(&format!("(?m)^(?:{})$", shell.tty))?;
    ensure!(
        wanted.is_match(&tty),
        "tty says {tty:?}, expected {}",
        shell.tty
    );
    let uid = console.run("id -u", SHORT)?;
    ensure!(uid.lines().any(|line| line == "0"), "id -u says {uid:?}");
    let comm = console.run("cat /proc/1/comm", SHORT)?;
    ensure!(
        comm.lines().any(|line| line == shell.comm),
        "PID 1 is {comm:?}, expected {:?}",
        shell.comm
    );
    Ok(())
}

/// A shell with job control on a terminal that sends signals to the group in the foreground.
pub fn job_control(console: &mut Console) -> Result<()> {
    console.run("sleep 1000 & true", SHORT)?;
    let jobs = console.run("jobs", SHORT)?;
    ensure!(jobs.contains("sleep 1000"), "jobs says {jobs:?}");
    console.run("kill %1", SHORT)?;
    // Not `wait`, `jobs` or a loop in the shell: under load busybox 1.35 at times misses the end of a job, or of a program that it
    // waits for, for good. `read` is a part of the shell.
    // The job is asked again: before it has taken back its own signals, it ignores what its shell ignores.
    let state = r#"kill %1 2>/dev/null; read -r pid name state rest </proc/$!/stat && echo "state=$state" || true"#;
    process::until("the killed job has ended", SHORT, || {
        let said = console.run(state, SHORT)?;
        Ok(!said.contains("state=S") && !said.contains("state=R"))
    })?;

    // The text is written when the program runs in the foreground, and is not in what we type.
    let wait = r#"sh -c 'echo sta""rted; exec sleep 1000'"#;
    console.send_line(wait)?;
    console.expect("started\n", SHORT)?;
    console.send("\x03")?;
    // A shell drops what is typed before it has seen the signal.
    prompt(console).context("after ^C")?;
    console.run("true", SHORT).context("after ^C")?;

    cat(console)?;
    console.send_line("first")?;
    twice(console, "first")?;
    console.send("\x1a")?;
    console
        .expect(Regex::new("(?i)stopped|suspended")?, SHORT)
        .context("after ^Z")?;
    prompt(console)?;
    console.run("true", SHORT).context("after ^Z")?;
    console.send_line("fg")?;
    console.expect("cat\n", SHORT).context("after fg")?;
    console.send_line("second")?;
    twice(console, "second")?;
    console.send("\x03")?;
    prompt(console)?;
    console
        .run("true", SHORT)
        .context("after ^C of what fg had brought back")?;
    Ok(())
}

/// Starts `cat` and waits until the shell has left its line editor: what is typed is for `cat` then.
fn cat(console: &mut Console) -> Result<()> {
    console.send_line("echo re''ady; cat")?;
    console.expect("ready\n", SHORT)?;
    Ok(())
}

/// Once echoed by the terminal, once written by `cat`.
fn twice(console: &mut Console, text: &str) -> Result<()> {
    for _ in 0..2 {
        console
            .expect(text, SHORT)
            .with_context(|| format!("typing {text} into cat"))?;
    }
    Ok(())
}

/// What is typed arrives as it is, beyond ASCII too.
fn bytes(console: &mut Console) -> Result<()> {
    let text = "Grüße, 植木鉢 🪴";
    cat(console)?;
    console.send_line(text)?;
    twice(console, text)?;
    console.send("\x04")?;
    console.run("true", SHORT)?;
    Ok(())
}

/// The size of our terminal becomes that of the machine's. It changes while a command runs: readline reads the size and
/// sets it again whenever it shows a prompt (`set_winsize` in its rltty.c), which undoes a change between the two.
pub fn window_size(console: &mut Console) -> Result<()> {
    for (rows, columns) in [(40, 132), (24, 80)] {
        console.send_line(&format!(
            r#"echo wai''ting; until test "$(stty size)" = "{rows} {columns}"; do sleep 0.1 || sleep 1; done; echo chan''ged"#
        ))?;
        console.expect("waiting\n", SHORT)?;
        console.resize(rows, columns)?;
        console
            .expect("changed\n", SHORT)
            .context("waiting for the new window size")?;
        console.run("true", SHORT)?;
    }
    Ok(())
}

/// Presses the escape and waits for the command to end.
pub fn detach(console: &mut Console) -> Result<()> {
    console.send("\x1d\x1d\x1d")?;
    let status = console.wait_exit(SHORT).context("detaching")?;
    ensure!(status.code() == Some(0), "detaching ended with {status}");
    Ok(())
}

/// Has the prompt shown once more by the return key: a client that is connected only some time after the start may have missed it.
pub fn wake(console: &mut Console) -> Result<()> {
    let prompt = Regex::new(r"\S+ login: ?")?;
    process::until("a prompt shows up", LONG, || {
        if console
            .expect(prompt.clone(), Duration::from_secs(3))
            .is_ok()
        {
            return Ok(true);
        }
        console.send_line("")?;
        Ok(false)
    })?;
    console.send_line("")
}

/// Logs in at a prompt that shows up.
pub fn login(console: &mut Console) -> Result<()> {
    console.login("root", repot_e2e::trees::PASSWORD, LONG)
}

/// Waits for a root shell that asked for nothing.
pub fn prompt(console: &mut Console) -> Result<()> {
    console
        .expect(Regex::new(r"(?m)[#] ?$")?, LONG)
        .context("waiting for a shell")?;
    Ok(())
}
