//! Every tree in every container system: to its login prompt, through all verbs, and down again, with nothing left.
//!
//! The body is the same for all engines ([`cell`]); each engine's file has the cells that it can have, and what it needs around
//! them.

mod chroot;
mod containerd;
mod daemons;
mod docker;
mod incus;
mod instances;
mod lxc;
mod lxd;
mod machinectl;
mod nspawn;
mod podman;
mod taken;
mod typed;

use anyhow::{Context, Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::life::{Asks, Case};
use crate::sandbox::{LONG, SHORT, Sandbox};
use crate::session::{self, Shell};

/// Tests of a tree each in an engine: `cells!("nspawn": bookworm_systemd = BOOKWORM_SYSTEMD, ...)`.
macro_rules! cells {
    ($engine:literal: $($test:ident = $case:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                crate::engines::cell(&crate::boot::$case, $engine)
            }
        )*
    };
}
pub(crate) use cells;

/// Those of all trees of the kit that have an init, by a macro such as [`cells`].
macro_rules! all_trees {
    ($cells:path, $engine:literal) => {
        $cells!($engine:
            bookworm_systemd = BOOKWORM_SYSTEMD,
            bullseye_systemd = BULLSEYE_SYSTEMD,
            trixie_systemd = TRIXIE_SYSTEMD,
            sid_systemd = SID_SYSTEMD,
            bookworm_sysvinit = BOOKWORM_SYSVINIT,
            bookworm_serial = BOOKWORM_SERIAL,
            bookworm_bothgetty = BOOKWORM_BOTHGETTY,
            bookworm_nologin = BOOKWORM_NOLOGIN,
            bookworm_openrc = BOOKWORM_OPENRC,
            sid_openrc_init = SID_OPENRC_INIT,
            bookworm_runit = BOOKWORM_RUNIT,
            bookworm_finit = BOOKWORM_FINIT,
            bookworm_s6 = BOOKWORM_S6,
            bookworm_busybox = BOOKWORM_BUSYBOX,
            busybox_noinittab = BUSYBOX_NOINITTAB,
            busybox_alpine = BUSYBOX_ALPINE,
            trixie_guix = TRIXIE_GUIX,
            guix_hardware = GUIX_HARDWARE,
        );
    };
}
pub(crate) use all_trees;

/// One cell of the table: a tree whose root has a password, in an engine of that name.
pub fn cell(case: &Case, engine: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    cell_in(&mut sandbox, case, engine)?;
    sandbox.finish()
}

/// The same in a sandbox that others made, for engines that need something around it.
pub fn cell_in(sandbox: &mut Sandbox, case: &Case, engine: &str) -> Result<()> {
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    cell_of(sandbox, case, engine, &tree)
}

/// The same with the tree as something else than its directory.
pub fn cell_of(sandbox: &Sandbox, case: &Case, engine: &str, source: &str) -> Result<()> {
    let name = sandbox.name();
    let said = sandbox.ok(&["boot", source, "--on", engine, "--detach", "--name", &name])?;
    ensure!(said.contains("is ready after"), "boot --detach: {said:?}");
    let row = sandbox.row(&name)?.context("the machine is not listed")?;
    ensure!(
        row["engine"] == engine && row["state"] == "running",
        "listed as {row}"
    );

    let mut console = sandbox.console(&["attach", &name])?;
    log_in(case, &mut console).context("on the console")?;
    is_root_there(case, &mut console).context("on the console")?;
    session::detach(&mut console)?;

    let mut login = sandbox.console(&["login", &name])?;
    session::prompt(&mut login).context("in `repot login`")?;
    is_root_there(case, &mut login).context("in `repot login`")?;
    session::job_control(&mut login).context("in `repot login`")?;
    login.send_line("exit")?;
    let status = login.wait_exit(SHORT).context("leaving `repot login`")?;
    ensure!(
        status.code() == Some(0),
        "`repot login` ended with {status}"
    );

    if case.systemd {
        // Not repot's in its place.
        let command = ["systemctl", "is-active", "console-getty.service"];
        let state = sandbox.exec(&name, &command);
        state.context("asking for the console's own getty")?;
    }

    let done = sandbox.repot(&["exec", &name, "/bin/sh", "-c", "echo out; exit 7"])?;
    ensure!(
        (done.code, done.out()) == (7, "out\n".into()),
        "exec: {done}"
    );

    let done = sandbox.expect(&["stop", &name], 0)?;
    ensure!(!done.err().contains("killed"), "stop was not clean: {done}");
    ensure!(sandbox.state(&name)? == "stopped");
    let log = sandbox.ok(&["logs", &name])?;
    ensure!(!log.is_empty(), "the console's log is empty");
    sandbox.ok(&["rm", &name])?;
    Ok(())
}

/// A machine of an engine is kept like any other: what it has written is there at the next boot, which needs no `--on`; a
/// reboot, from inside and from outside, brings it back; `kill` ends it and leaves nothing; another engine is refused.
pub fn kept(case: &Case, engine: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    kept_in(&mut sandbox, case, engine)?;
    sandbox.finish()
}

/// The same in a sandbox that others made.
pub fn kept_in(sandbox: &mut Sandbox, case: &Case, engine: &str) -> Result<()> {
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "--on", engine, "-d", "-n", &name])?;
    sandbox.exec(&name, &["sh", "-c", "echo kept >/root/note"])?;

    let done = sandbox.expect(&["reboot", "--wait", &name], 0)?;
    ensure!(!done.err().contains("killed"), "reboot: {done}");
    ensure!(sandbox.exec(&name, &["cat", "/root/note"])? == "kept");
    ensure!(sandbox.status(&name)?["running"]["boots"] == 2);

    sandbox.expect(&["stop", &name], 0)?;
    let refused = sandbox.expect(&["boot", &name, "--on", "native", "-d"], 3)?;
    ensure!(
        refused.err().contains(&format!("was made for {engine}")),
        "{refused}"
    );
    if !matches!(engine, "nspawn" | "lxc") {
        // Its writes are in the container, which an ephemeral machine would take along.
        let refused = sandbox.expect(&["boot", &name, "-x", "-d"], 3)?;
        ensure!(refused.err().contains("--ephemeral"), "{refused}");
    }
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(sandbox.exec(&name, &["cat", "/root/note"])? == "kept");
    let row = sandbox.row(&name)?.context("the machine is not listed")?;
    ensure!(row["engine"] == engine, "listed as {row}");
    sandbox.ok(&["kill", &name])?;
    ensure!(sandbox.state(&name)? == "stopped");
    sandbox.ok(&["rm", &name])?;
    Ok(())
}

/// A supervisor that was killed takes its machine along, or the next command does.
pub fn orphaned(case: &Case, engine: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    orphaned_in(&mut sandbox, case, engine)?;
    sandbox.finish()
}

/// The same in a sandbox that others made.
pub fn orphaned_in(sandbox: &mut Sandbox, case: &Case, engine: &str) -> Result<()> {
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "--on", engine, "-d", "-n", &name])?;
    let running = sandbox.status(&name)?["running"].clone();
    let pid = |key: &str| running[key].as_i64().context("reading a PID");
    let (supervisor, leader) = (pid("supervisor_pid")?, pid("leader_pid")?);
    let supervisor = rustix::process::Pid::from_raw(i32::try_from(supervisor)?)
        .context("reading the supervisor's PID")?;
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL)?;
    process::until("the machine is stopped", SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    process::until("its PID 1 has ended", SHORT, || {
        Ok(!std::path::Path::new(&format!("/proc/{leader}/exe")).exists())
    })?;
    sandbox.ok(&["boot", &name, "-d"])?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    Ok(())
}

fn log_in(case: &Case, console: &mut Console) -> Result<()> {
    match case.console {
        Asks::Login => session::login(console),
        Asks::Nothing => {
            console.send("\r")?;
            session::prompt(console)
        }
    }
}

fn is_root_there(case: &Case, console: &mut Console) -> Result<()> {
    let said = console.run("id -u; cat /proc/1/comm", LONG)?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        lines.contains(&"0") && lines.contains(&case.comm),
        "the shell says {said:?}, expected 0 and {:?}",
        case.comm
    );
    Ok(())
}

/// As a person does it: attached from the start, logged in with the password, the shell as on a terminal; `reboot` and
/// `poweroff` typed inside.
pub fn attended(case: &Case, engine: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    attended_in(&mut sandbox, case, engine)?;
    sandbox.finish()
}

/// The same in a sandbox that others made.
pub fn attended_in(sandbox: &mut Sandbox, case: &Case, engine: &str) -> Result<()> {
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &tree, "--on", engine, "-n", &name])?;
    session::login(&mut console).context("first login")?;
    let shell = Shell {
        tty: r"/dev/(?:console|tty1|pts/\d+)",
        comm: case.comm,
    };
    session::check(&mut console, shell)?;
    console.send_line("reboot")?;
    process::until("the machine has restarted", LONG, || {
        Ok(sandbox.status(&name)?["running"]["boots"] == 2)
    })?;
    session::login(&mut console).context("login after `reboot` inside")?;
    console.send_line(case.poweroff)?;
    let status = console.wait_exit(LONG).context("`poweroff` inside")?;
    ensure!(
        status.code() == Some(0),
        "boot ended with {status} after `poweroff` inside\n{}",
        console.text()
    );
    ensure!(sandbox.state(&name)? == "stopped");
    sandbox.ok(&["rm", &name])?;
    Ok(())
}
