//! machinectl, in a booted Debian: machined is a service of systemd, which is no test host's PID 1.
//!
//! The machine around has the host's user namespace and every privilege, as a Debian on a disk has: in a user namespace
//! neither device nodes can be unpacked nor a terminal be taken from a PID 1 that holds it.

use anyhow::{Context, Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::process::{self, Done};
use repot_e2e::trees::Tree;
use serde_json::Value;

use crate::boot::{BOOKWORM_BUSYBOX, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};
use crate::life::Case;
use crate::sandbox::{LONG, SHORT, Sandbox, binary, utf8};
use crate::session;

/// What repot calls a machine in the engine.
const INNER: &str = "repot-inner";
const UNIT: &str = "systemd-nspawn@repot-inner.service";

/// A booted Debian with machined and repot in it.
struct Debian {
    sandbox: Sandbox,
    name: String,
}

impl Debian {
    /// With these trees below `/trees`.
    fn boot(cases: &[&Case]) -> Result<Debian> {
        let mut sandbox = Sandbox::new()?;
        let tree = sandbox.base(Tree::named("bookworm-machined")?)?;
        let name = sandbox.name();
        let repot = format!("{}:/usr/bin/repot", utf8(binary()?)?);
        let mut args = ["boot", &tree, "-d", "-n", &name, "--userns", "no"]
            .map(str::to_owned)
            .to_vec();
        let inside = [
            "--privileged",
            "--tmpfs",
            "/var/lib/repot",
            "--bind-ro",
            &repot,
        ];
        args.extend(inside.map(str::to_owned));
        for case in cases {
            let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
            args.extend([
                "--bind-ro".to_owned(),
                format!("{tree}:/trees/{}", case.tree),
            ]);
        }
        sandbox.ok(&args)?;
        Ok(Debian { sandbox, name })
    }

    /// Runs a command in it, which must end with 0; what it printed.
    fn ok(&self, command: &[&str]) -> Result<String> {
        self.sandbox.exec(&self.name, command)
    }

    fn run(&self, command: &[&str]) -> Result<Done> {
        self.sandbox
            .repot(&[&["exec", &self.name], command].concat())
    }

    fn console(&self, command: &[&str]) -> Result<Console> {
        self.sandbox
            .console(&[&["exec", "-t", &self.name], command].concat())
    }

    /// `repot stop`, without a kill.
    fn stop(&self) -> Result<()> {
        let done = self.run(&["repot", "stop", "inner"])?;
        ensure!(done.code == 0 && !done.err().contains("killed"), "{done}");
        ensure!(self.inner()?["state"] == "stopped");
        self.machined_has(false)
    }

    /// The row of `repot list` there.
    fn inner(&self) -> Result<Value> {
        let document: Value = serde_json::from_str(&self.ok(&["repot", "list", "--json"])?)?;
        Ok(document["machines"][0].clone())
    }

    /// `repot list --all` of somebody who has not made it has it in that state; of whoever has, only once.
    fn others_list_it_as(&self, state: &str) -> Result<()> {
        let others = |variables: &[&str]| -> Result<Value> {
            let repot = ["repot", "list", "--all", "--json"];
            let list = self.ok(&[&["env"], variables, &repot].concat())?;
            let document: Value = serde_json::from_str(&list)?;
            Ok(document["others"].clone())
        };
        let row = serde_json::json!([{
            "name": INNER, "state": state, "engine": "machinectl", "source": "",
        }]);
        let elsewhere = ["REPOT_DATA_DIR=/run/other", "REPOT_RUN_DIR=/run/other"];
        let seen = others(&elsewhere)?;
        ensure!(seen == row, "others see {seen}, expected {row}");
        let own = others(&[])?;
        ensure!(own == serde_json::json!([]), "it is listed twice: {own}");
        Ok(())
    }

    /// What machined thinks.
    fn machined_has(&self, is_running: bool) -> Result<()> {
        process::until("machined has noticed", SHORT, || {
            let list = self.ok(&["machinectl", "list", "--no-legend"])?;
            Ok(list.split_whitespace().any(|word| word == INNER) == is_running)
        })
    }

    /// Nothing of a machine is left in it, or that it was at fault for.
    fn is_empty(&self) -> Result<()> {
        let find = [
            "find",
            "/var/lib/machines",
            "/etc/systemd",
            "/run/systemd/nspawn",
            "/run/systemd/transient",
        ];
        let found = self.run(&[&find[..], &["-name", "*repot-inner*"]].concat())?;
        ensure!(found.out().is_empty(), "left: {found}");
        let units = [
            "systemctl",
            "list-units",
            "--all",
            "--no-legend",
            "*repot*inner*",
        ];
        let units = self.ok(&units)?;
        ensure!(units.is_empty(), "left: {units}");
        let shown = self.ok(&["systemctl", "show", "-P", "DropInPaths", UNIT])?;
        ensure!(shown.is_empty(), "systemd still knows {shown}");
        let failed = self.ok(&["systemctl", "--failed", "--no-legend", "--plain"])?;
        ensure!(failed.is_empty(), "failed units: {failed}");
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.sandbox.ok(&["rm", "-f", &self.name])?;
        self.sandbox.finish()
    }

    /// Boots a tree there, logs in on its console, and goes in by repot's other ways.
    fn cell(&self, case: &Case) -> Result<()> {
        let tree = format!("/trees/{}", case.tree);
        let said = self.ok(&[
            "repot",
            "boot",
            &tree,
            "--on",
            "machinectl",
            "-d",
            "-n",
            "inner",
        ])?;
        ensure!(said.contains("is ready after"), "boot --detach: {said:?}");
        let row = self.inner()?;
        ensure!(
            row["engine"] == "machinectl" && row["state"] == "running",
            "listed as {row}"
        );
        self.machined_has(true)?;

        let mut console = self.console(&["repot", "attach", "inner"])?;
        session::login(&mut console).context("on the console")?;
        super::is_root_there(case, &mut console).context("on the console")?;
        session::job_control(&mut console).context("on the console")?;
        session::detach(&mut console)?;

        let mut login = self.console(&["repot", "login", "inner"])?;
        session::prompt(&mut login).context("in `repot login`")?;
        super::is_root_there(case, &mut login).context("in `repot login`")?;
        login.send_line("exit")?;
        login.wait_exit(SHORT).context("leaving `repot login`")?;

        let script = "echo kept >/root/note; echo out; exit 7";
        let done = self.run(&["repot", "exec", "inner", "/bin/sh", "-c", script])?;
        ensure!(
            (done.code, done.out()) == (7, "out\n".into()),
            "exec: {done}"
        );
        Ok(())
    }

    /// Started without repot, by the settings that it wrote; `stop` ends it.
    fn by_hand(&self, stop: &[&str]) -> Result<()> {
        self.ok(&["machinectl", "start", INNER]).with_context(|| {
            let log = self.run(&["journalctl", "-o", "cat", "--no-pager", "-u", UNIT]);
            log.map_or_else(|error| error.to_string(), |log| log.out())
        })?;
        self.machined_has(true)?;
        process::until("its console asks", LONG, || {
            let journal =
                self.ok(&["journalctl", "-o", "cat", "--no-pager", "--all", "-u", UNIT])?;
            // A getty's greeting; the prompt itself is no whole line yet.
            Ok(journal.contains("/dev/console") || journal.contains("Debian GNU/Linux 12"))
        })?;
        self.ok(stop)?;
        process::until("the unit has ended", SHORT, || {
            Ok(self.run(&["systemctl", "is-active", UNIT])?.out().trim() == "inactive")
        })?;
        let result = self.ok(&["systemctl", "show", "-P", "Result", UNIT])?;
        ensure!(result == "success", "{stop:?} came to {result}");
        self.machined_has(false)
    }
}

/// Inits that know nothing of systemd: what is written stays, and `systemctl stop` says what they understand.
#[test]
fn small_inits() -> Result<()> {
    let cases = [&BOOKWORM_BUSYBOX, &BOOKWORM_SYSVINIT];
    let debian = Debian::boot(&cases)?;
    for case in cases {
        let whole = || -> Result<()> {
            debian.cell(case)?;
            debian.others_list_it_as("running")?;
            debian.stop()?;
            debian.others_list_it_as("stopped")?;
            debian.by_hand(&["systemctl", "stop", UNIT])?;
            debian.ok(&["repot", "boot", "inner", "-d"])?;
            ensure!(debian.ok(&["repot", "exec", "inner", "cat", "/root/note"])? == "kept");
            debian.ok(&["repot", "kill", "inner"])?;
            debian.machined_has(false)?;
            debian.ok(&["repot", "rm", "inner"])?;
            debian.is_empty()
        };
        whole().context(case.tree)?;
    }
    debian.finish()
}

/// systemd, which machinectl's own verbs are for.
#[test]
fn systemd() -> Result<()> {
    let debian = Debian::boot(&[&BOOKWORM_SYSTEMD])?;
    debian.cell(&BOOKWORM_SYSTEMD)?;

    let shell = [
        "machinectl",
        "-q",
        "shell",
        INNER,
        "/bin/cat",
        "/proc/1/comm",
    ];
    let mut shell = debian.console(&shell)?;
    shell
        .expect("systemd\n", LONG)
        .context("machinectl shell")?;
    shell.wait_exit(SHORT)?;
    let mut login = debian.console(&["machinectl", "-q", "login", INNER])?;
    session::login(&mut login).context("machinectl login")?;
    super::is_root_there(&BOOKWORM_SYSTEMD, &mut login).context("machinectl login")?;
    login.kill()?;

    debian.ok(&["repot", "reboot", "--wait", "inner"])?;
    debian.machined_has(true)?;
    debian.ok(&["machinectl", "poweroff", INNER])?;
    process::until("repot has noticed", LONG, || {
        Ok(debian.inner()?["state"] == "stopped")
    })?;
    debian.machined_has(false)?;
    debian.by_hand(&["machinectl", "poweroff", INNER])?;

    debian.ok(&["repot", "boot", "inner", "-d"])?;
    debian.stop()?;
    debian.ok(&["repot", "rm", "inner"])?;
    debian.is_empty()?;
    debian.finish()
}

/// What `repot export --to nspawn` writes is imported and started by machinectl alone, as the how-to has it.
#[test]
fn an_export_is_imported() -> Result<()> {
    let cases = [
        (&BOOKWORM_SYSVINIT, ["systemctl", "stop", UNIT]),
        (&BOOKWORM_SYSTEMD, ["machinectl", "poweroff", INNER]),
    ];
    let debian = Debian::boot(&cases.map(|(case, _)| case))?;
    for (case, stop) in cases {
        let tree = format!("/trees/{}", case.tree);
        let export = ["repot", "export", &tree, "--to", "nspawn", "/var/tmp/out"];
        debian.ok(&[&export[..], &["--name", INNER, "--compress", "none"]].concat())?;
        let archive = format!("/var/tmp/out/{INNER}.tar");
        debian.ok(&["machinectl", "-q", "import-tar", &archive, INNER])?;
        let written = format!("/var/tmp/out/{INNER}.nspawn");
        let install = ["install", "-D", "-m", "644", "-t", "/etc/systemd/nspawn"];
        debian.ok(&[&install[..], &[&written]].concat())?;
        // A machine of repot's has a /proc that is covered in parts: no user namespace below it can have a whole one.
        let dir = format!("/run/systemd/system/{UNIT}.d");
        let start = "systemd-nspawn --quiet --keep-unit --boot --settings=override --machine=%i";
        let drop_in = format!("[Service]\nExecStart=\nExecStart={start}\n");
        let script = r#"mkdir -p "$1"; printf %s "$2" >"$1/test.conf"; systemctl daemon-reload"#;
        debian.ok(&["sh", "-c", script, "sh", &dir, &drop_in])?;
        debian.by_hand(&stop).context(case.tree)?;
        debian.ok(&["machinectl", "remove", INNER])?;
        // With its settings.
        debian.ok(&["rm", "-r", "/var/tmp/out", &dir])?;
        debian.ok(&["systemctl", "daemon-reload"])?;
        debian.is_empty()?;
    }
    debian.finish()
}
