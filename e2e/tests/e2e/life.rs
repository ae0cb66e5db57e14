//! The life of one machine from boot to removal, the same for every tree; what differs is in [`Case`].

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use repot_e2e::console::Console;
use repot_e2e::process::{self, Done};
use repot_e2e::trees::{PASSWORD, Tree};

use crate::sandbox::{LONG, SHORT, Sandbox};
use crate::session::{self, Shell};

/// A tree, and what is to be seen in a machine of it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub tree: &'static str,
    /// `/proc/1/comm`.
    pub comm: &'static str,
    /// `tty` on the console.
    pub tty: &'static str,
    /// Where the console gets its shell.
    pub console: Asks,
    /// Whether a login is recorded in utmp(5), and whether `who` is there to tell.
    pub utmp: bool,
    /// Whether systemd runs, with logind.
    pub systemd: bool,
    /// The command that powers it off from inside.
    pub poweroff: &'static str,
}

/// What the console shows when the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// `NAME login:`.
    Login,
    /// A root shell: the tree has no program that could ask.
    Nothing,
}

impl Case {
    fn enter(&self, console: &mut Console) -> Result<()> {
        match self.console {
            Asks::Login => session::login(console),
            Asks::Nothing => session::prompt(console),
        }
    }

    fn shell(&self) -> Shell<'static> {
        Shell {
            tty: self.tty,
            comm: self.comm,
        }
    }
}

/// With root's password: attached boot, console login, detach, attach, the verbs that go in, reboot and power-off from
/// inside.
pub fn attended(case: &Case) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    attended_in(&sandbox, case, &tree)?;
    sandbox.finish()
}

/// The same in a sandbox that others made, from any source.
pub fn attended_in(sandbox: &Sandbox, case: &Case, source: &str) -> Result<()> {
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", source, "--name", &name])?;
    case.enter(&mut console).context("first login")?;
    session::check(&mut console, case.shell())?;
    session::detach(&mut console)?;
    // A console that is typed on is never silent, so the prompt may not have counted yet.
    process::until("the detached machine runs", SHORT, || {
        Ok(sandbox.state(&name)? == "running")
    })?;

    exec(sandbox, &name)?;
    shell(sandbox, case, &name)?;
    if case.console == Asks::Login {
        login_prompt(sandbox, case, &name)?;
    }

    let mut console = sandbox.console(&["attach", &name])?;
    // The shell of the first login still waits; a return key makes it say so.
    console.send("\r")?;
    session::prompt(&mut console).context("attaching again")?;
    console.run("true", SHORT).context("attached again")?;

    console.send_line("reboot")?;
    process::until("the machine has restarted", LONG, || {
        let running = &sandbox.status(&name)?["running"];
        let is_up = case.console == Asks::Login || running["state"] == "running";
        Ok(running["boots"] == 2 && is_up)
    })?;
    case.enter(&mut console)
        .context("login after `reboot` inside")?;
    console.send_line(case.poweroff)?;
    let status = console.wait_exit(LONG).context("`poweroff` inside")?;
    ensure!(
        status.code() == Some(0),
        "boot ended with {status} after `poweroff` inside\n{}",
        console.text()
    );
    let state = sandbox.state(&name)?;
    ensure!(
        state == "stopped",
        "powered off, but its state is {state:?}"
    );
    sandbox.ok(&["rm", &name])?;
    ensure!(sandbox.row(&name)?.is_none(), "removed, but listed");
    Ok(())
}

/// With root locked, as trees come: boot in the background, `login` lets root in all the same, reboot and stop from
/// outside without a kill.
pub fn locked(case: &Case) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named(case.tree)?)?;
    locked_in(&sandbox, case, &tree)?;
    sandbox.finish()
}

/// The same in a sandbox that others made, from any source.
pub fn locked_in(sandbox: &Sandbox, case: &Case, source: &str) -> Result<()> {
    let name = sandbox.name();
    let said = sandbox.ok(&["boot", source, "--detach", "--name", &name])?;
    ensure!(
        said.contains("is ready after"),
        "boot --detach said {said:?}"
    );
    login(sandbox, case, &name)?;
    if case.systemd {
        healthy(sandbox, &name)?;
    }
    clean(sandbox.expect(&["reboot", "--wait", &name], 0)?)?;
    let boots = sandbox.status(&name)?["running"]["boots"].clone();
    ensure!(boots == 2, "boots is {boots} after a reboot from outside");
    clean(sandbox.expect(&["stop", &name], 0)?)?;
    sandbox.ok(&["rm", &name])?;
    Ok(())
}

/// No kill was needed.
fn clean(done: Done) -> Result<()> {
    ensure!(!done.err().contains("killed"), "not clean: {done}");
    Ok(())
}

/// `systemctl`'s own opinion.
fn healthy(sandbox: &Sandbox, name: &str) -> Result<()> {
    let state = sandbox.repot(&["exec", name, "systemctl", "is-system-running", "--wait"])?;
    let failed = sandbox.ok(&[
        "exec",
        name,
        "systemctl",
        "--failed",
        "--no-legend",
        "--plain",
    ])?;
    ensure!(failed.trim().is_empty(), "failed units: {failed}");
    ensure!(
        state.out().trim() == "running",
        "is-system-running: {state}"
    );
    Ok(())
}

/// Output and error apart, all kinds of status, standard input, bytes of every value.
fn exec(sandbox: &Sandbox, name: &str) -> Result<()> {
    let script = |script: &str| sandbox.repot(&["exec", name, "/bin/sh", "-c", script]);
    let done = script("echo out; echo err >&2; exit 7")?;
    ensure!(
        (done.code, done.out(), done.err()) == (7, "out\n".into(), "err\n".into()),
        "exec: {done}"
    );
    sandbox.expect(&["exec", name, "true"], 0)?;
    sandbox.expect(&["exec", name, "/no/such/program"], 127)?;
    sandbox.expect(&["exec", name, "/etc/passwd"], 126)?;
    let done = script("kill -9 $$")?;
    ensure!(done.code == 137, "killed by signal 9: {done}");
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let done = sandbox.repot_with(&["exec", name, "cat"], &every_byte)?;
    ensure!(
        done.code == 0 && done.stdout == every_byte,
        "{} bytes of {} came back",
        done.stdout.len(),
        every_byte.len()
    );
    Ok(())
}

/// `shell`: the user's shell, with what it would have after a login; on a terminal and without.
fn shell(sandbox: &Sandbox, case: &Case, name: &str) -> Result<()> {
    let done = sandbox.expect(&["shell", name, r#"echo "$HOME $USER $PWD"; exit 5"#], 5)?;
    ensure!(done.out() == "/root root /root\n", "shell: {done}");
    let mut console = sandbox.console(&["shell", name])?;
    session::prompt(&mut console)?;
    session::check(
        &mut console,
        Shell {
            tty: r"/dev/pts/\d+",
            comm: case.comm,
        },
    )
    .context("in `repot shell`")?;
    console.send_line("exit 3")?;
    let status = console.wait_exit(SHORT)?;
    ensure!(status.code() == Some(3), "shell ended with {status}");
    Ok(())
}

/// `login`: a session of the distribution's own making, though root is locked.
fn login(sandbox: &Sandbox, case: &Case, name: &str) -> Result<()> {
    let mut console = sandbox.console(&["login", name])?;
    session::prompt(&mut console)?;
    session::check(
        &mut console,
        Shell {
            tty: r"/dev/pts/\d+",
            comm: case.comm,
        },
    )
    .context("in `repot login`")?;
    let tty = console
        .run("tty", SHORT)?
        .trim()
        .trim_start_matches("/dev/")
        .to_owned();
    if case.utmp {
        let who = console.run("who", SHORT)?;
        let is_listed = who
            .lines()
            .any(|line| line.starts_with("root") && line.contains(&tty));
        ensure!(is_listed, "who does not show {tty}: {who:?}");
    }
    if case.systemd {
        let sessions = console.run("loginctl list-sessions --no-legend --no-pager | cat", SHORT)?;
        ensure!(
            sessions.contains(&tty),
            "loginctl does not show {tty}: {sessions:?}"
        );
    }
    console.send_line("exit")?;
    let status = console.wait_exit(SHORT).context("leaving `repot login`")?;
    ensure!(status.code() == Some(0), "login ended with {status}");
    Ok(())
}

/// `login --prompt`: asks for the password, refuses a wrong one.
fn login_prompt(sandbox: &Sandbox, case: &Case, name: &str) -> Result<()> {
    let mut console = sandbox.console(&["login", "--prompt", name])?;
    console.expect(Regex::new(r"login: ?")?, LONG)?;
    console.send_line("root")?;
    console.expect(Regex::new("[Pp]assword: ?")?, SHORT)?;
    console.send_line("wrong")?;
    console.expect(
        Regex::new("(?i)login incorrect|permission denied|failure")?,
        SHORT,
    )?;
    console.expect(Regex::new(r"login: ?")?, SHORT)?;
    console.send_line("root")?;
    console.expect(Regex::new("[Pp]assword: ?")?, SHORT)?;
    console.send_line(PASSWORD)?;
    session::prompt(&mut console).context("after the right password")?;
    let uid = console.run("id -u; cat /proc/1/comm", SHORT)?;
    ensure!(
        uid.replace('\n', " ") == format!("0 {} ", case.comm),
        "{uid:?}"
    );
    session::detach(&mut console)?;
    // The session hangs up with its terminal.
    process::until("the detached login has ended", SHORT, || {
        match sandbox.repot(&["exec", name, "true"])?.code {
            0 => Ok(true),
            code => bail!("exec ended with {code}"),
        }
    })
}
