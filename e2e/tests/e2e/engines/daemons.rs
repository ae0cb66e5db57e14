//! What the engines have in common that keep images and containers: each test has its own daemon or store, which must be empty
//! when repot has removed the machine, and of which nothing must be left.

use anyhow::{Context, Result, ensure};
use repot_e2e::daemon::Daemon;
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::life::Case;
use crate::sandbox::{LONG, SHORT, Sandbox};

/// Tests of a tree each in an engine that needs a daemon.
macro_rules! daemon_cells {
    ($engine:literal: $($test:ident = $case:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                crate::engines::daemons::with($engine, |sandbox, _| {
                    crate::engines::cell_in(sandbox, &crate::boot::$case, $engine)
                })
            }
        )*
    };
}
pub(crate) use daemon_cells;

/// One tree for each way in which they differ: inits, gettys, cgroups. What runs on the same images as Docker, or the same library
/// as LXC, takes these; `cargo xtask table` goes through all.
macro_rules! one_of_each {
    ($engine:literal) => {
        crate::engines::daemons::daemon_cells!($engine:
            bullseye_systemd = BULLSEYE_SYSTEMD,
            sid_systemd = SID_SYSTEMD,
            bookworm_sysvinit = BOOKWORM_SYSVINIT,
            sid_openrc_init = SID_OPENRC_INIT,
            bookworm_runit = BOOKWORM_RUNIT,
            bookworm_finit = BOOKWORM_FINIT,
            bookworm_s6 = BOOKWORM_S6,
            busybox_alpine = BUSYBOX_ALPINE,
            trixie_guix = TRIXIE_GUIX,
        );
    };
}
pub(crate) use one_of_each;

/// Runs a test with an engine of its own.
pub fn with(engine: &str, body: impl FnOnce(&mut Sandbox, &Daemon) -> Result<()>) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let (dir, id) = (sandbox.dir().to_owned(), sandbox.id().to_owned());
    let daemon = match engine {
        "docker" => Daemon::docker(&dir, &id)?,
        "containerd" => Daemon::containerd(&dir, &id)?,
        _ => Daemon::podman(&dir)?,
    };
    sandbox.put_env(daemon.env());
    let result = body(&mut sandbox, &daemon).and_then(|()| is_empty(engine, &daemon));
    if result.is_err() {
        // While there is somebody to ask.
        sandbox.remove_machines();
    }
    result?;
    daemon.end()?;
    sandbox.finish()
}

/// Neither containers nor images are left.
fn is_empty(engine: &str, daemon: &Daemon) -> Result<()> {
    let questions = match engine {
        "containerd" => [
            ["ctr", "containers", "list", "-q"],
            ["ctr", "images", "list", "-q"],
        ],
        _ => [
            [engine, "ps", "--all", "-q"],
            [engine, "images", "--all", "-q"],
        ],
    };
    for question in questions {
        let left = daemon.ask(&question)?;
        ensure!(left.trim().is_empty(), "{question:?} still shows {left}");
    }
    Ok(())
}

/// The engine's own commands work on the machine: its log is the console, its exec gets in, its stop ends the machine without
/// having to kill it.
pub fn by_its_own_commands(case: &Case, engine: &str) -> Result<()> {
    with(engine, |sandbox, daemon| {
        let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
        let name = sandbox.name();
        sandbox.ok(&["boot", &tree, "--on", engine, "-d", "-n", &name])?;
        let container = format!("repot-{name}");
        let inside = daemon.ask(&[engine, "exec", &container, "/bin/cat", "/proc/1/comm"])?;
        ensure!(inside.trim() == case.comm, "exec says {inside:?}");
        let log = daemon.ask(&[engine, "logs", &container])?;
        // What stands above the prompt: the prompt itself is kept back until its line ends.
        ensure!(log.contains("GNU/Linux"), "the log has no login: {log}");
        daemon.ask(&[engine, "stop", &container])?;
        let format = "--format={{.State.ExitCode}}";
        let code = daemon.ask(&[engine, "inspect", format, &container])?;
        // SIGINT, by which reboot(2) ends PID 1 for a power-off; 137 is SIGKILL.
        ensure!(code.trim() == "130", "PID 1 has ended with {code}");
        process::until("repot has noticed", SHORT, || {
            Ok(sandbox.state(&name)? == "stopped")
        })?;
        sandbox.ok(&["rm", &name])?;
        Ok(())
    })
}

/// A daemon that does not answer is found out before anything is made, with what could mend it.
pub fn unreachable(engine: &str, variable: &'static str, address: &str, says: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.put_env(&[(variable, address.to_owned())]);
    let tree = sandbox.base(Tree::named("busybox-noinittab")?.with_password())?;
    let name = sandbox.name();
    let done = process::run(
        &mut sandbox.command(&["boot", &tree, "--on", engine, "-n", &name])?,
        b"",
        LONG,
    )?;
    let said = done.err();
    ensure!(done.code == 3 && said.contains(says), "{done}");
    ensure!(
        sandbox.row(&name).context("listing")?.is_none(),
        "a machine was made: {said}"
    );
    sandbox.finish()
}

/// A container of the same name that is a machine of another data directory is not taken for one's own: it stays, and the user
/// hears of it.
pub fn another_ones(engine: &str) -> Result<()> {
    with(engine, |sandbox, daemon| {
        let tree = sandbox.base(Tree::named("busybox-alpine")?.with_password())?;
        let name = sandbox.name();
        sandbox.ok(&["boot", &tree, "--on", engine, "-d", "-n", &name])?;
        let mut other = Sandbox::new()?;
        other.put_env(daemon.env());
        let refused = other.expect(&["boot", &tree, "--on", engine, "-d", "-n", &name], 3)?;
        ensure!(
            refused.err().contains("exists") || refused.err().contains("in use"),
            "{refused}"
        );
        ensure!(other.row(&name)?.is_none(), "a machine was made: {refused}");
        ensure!(sandbox.exec(&name, &["echo", "there"])? == "there");
        sandbox.ok(&["stop", &name])?;
        sandbox.ok(&["rm", &name])?;
        other.finish()
    })
}
