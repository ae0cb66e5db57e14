//! Trees in `systemd-nspawn` as a person would start them, with nothing of repot's beside it: what counts is what stands in the
//! tree.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use repot_e2e::console::Console;
use repot_e2e::process;
use repot_e2e::trees::{PASSWORD, Tree};
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{LONG, SHORT, Sandbox, utf8};

/// How long a boot is watched that is expected to end in silence. The slowest of these trees asks for a name after 3 s.
const SILENCE: Duration = Duration::from_secs(12);

/// A copy of a tree that may be spoilt.
pub struct Copied {
    pub sandbox: Sandbox,
    pub dir: PathBuf,
    console: Option<Console>,
    /// What nspawn called them.
    machines: Vec<String>,
}

impl Copied {
    /// A copy of that tree, whose root has a password, with this done to it by the host's shell in its root directory.
    ///
    /// # Errors
    /// It cannot be copied, or a command fails.
    pub fn new(tree: &str, broken: &str) -> Result<Copied> {
        let sandbox = Sandbox::new()?;
        let dir = sandbox.dir().join("tree");
        Tree::named(tree)?.with_password().copy_to(&dir)?;
        let mut command = Command::new("sh");
        command.args(["-euc", broken]).current_dir(&dir);
        let done = process::run(&mut command, b"", SHORT)?;
        ensure!(done.code == 0, "breaking {tree}: {done}");
        Ok(Copied {
            sandbox,
            dir,
            console: None,
            machines: Vec::new(),
        })
    }

    /// Writes into the tree what the rules ask for, or these alone, and what the second time would change: nothing.
    ///
    /// # Errors
    /// `repot fix` fails, or is not done with one go.
    pub fn fix(&self, only: &[&str]) -> Result<()> {
        let only = only.iter().flat_map(|rule| ["--only", rule]);
        self.fix_with(&[&["--for", "nspawn"][..], &only.collect::<Vec<_>>()].concat())
    }

    /// The same with any options.
    ///
    /// # Errors
    /// As for [`Copied::fix`].
    pub fn fix_with(&self, options: &[&str]) -> Result<()> {
        let tree = utf8(&self.dir)?;
        let mut args = vec!["fix", tree.as_str()];
        args.extend(options);
        let done = self.sandbox.repot(&args)?;
        ensure!(done.code <= 1, "{done}");
        args.push("--dry-run");
        let again = self.sandbox.repot(&args)?;
        ensure!(
            !again.out().contains("+++"),
            "fixing twice changes something: {again}"
        );
        Ok(())
    }

    /// Starts the tree's init, with the signal that `machinectl` or a closed terminal would ask it to end by.
    ///
    /// # Errors
    /// nspawn cannot be started.
    pub fn boot(&mut self, signal: &str) -> Result<&mut Console> {
        let signal = format!("--kill-signal={signal}");
        self.start(&[], &[&signal, "/sbin/init"])
    }

    /// The same with any options and program; `before` is what executes nspawn.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, before: &[&str], words: &[&str]) -> Result<&mut Console> {
        let nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit"];
        let name = self.sandbox.name();
        let machine = format!("--machine={name}");
        self.machines.push(name);
        let tree = utf8(&self.dir)?;
        let fixed = ["--private-network", &machine, "-D", &tree];
        let line = [before, &nspawn, &fixed, words].concat();
        let (program, arguments) = line.split_first().context("finding nspawn")?;
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(self.console.insert(Console::spawn(&command)?))
    }

    /// Starts nspawn, which refuses the tree with this text.
    ///
    /// # Errors
    /// It starts something, or says something else.
    pub fn is_refused(&mut self, words: &[&str], text: &str) -> Result<()> {
        self.start(&[], words)?;
        let mut console = self.console.take().context("looking for the console")?;
        let status = console.wait_exit(LONG)?;
        ensure!(
            !status.success() && console.text().contains(text),
            "nspawn ended with {status}: {}",
            console.text()
        );
        Ok(())
    }

    /// The console of the machine that runs.
    ///
    /// # Errors
    /// None does.
    pub fn console(&mut self) -> Result<&mut Console> {
        self.console.as_mut().context("looking for the console")
    }

    /// Boots, sees no prompt, and ends it the hard way. What was on the console.
    ///
    /// # Errors
    /// There is a prompt.
    pub fn is_silent(&mut self) -> Result<String> {
        let console = self.boot("SIGKILL")?;
        if console.expect("login:", SILENCE).is_ok() {
            bail!("there is a prompt without the rule: {}", console.text());
        }
        let text = console.text().to_owned();
        self.stop()?;
        Ok(text)
    }

    /// Boots and logs in as root.
    ///
    /// # Errors
    /// No prompt comes, or root is refused.
    pub fn logs_in(&mut self, signal: &str) -> Result<()> {
        self.boot(signal)?;
        self.is_let_in()
    }

    /// Logs in as root on the machine that runs.
    ///
    /// # Errors
    /// As for [`Copied::logs_in`].
    pub fn is_let_in(&mut self) -> Result<()> {
        let console = self.console()?;
        console.login("root", PASSWORD, SHORT)?;
        let id = console.run("id -u", SHORT)?;
        ensure!(id.trim() == "0", "logged in as {id}");
        Ok(())
    }

    /// Asks nspawn to end, which sends the signal to the init, and waits.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut console = self.console.take().context("looking for the console")?;
        let pid = i32::try_from(console.pid())?;
        let pid = Pid::from_raw(pid).context("reading the pid")?;
        kill_process(pid, Signal::TERM).context("asking nspawn to end")?;
        console.wait_exit(LONG)
    }

    /// A file of the tree.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.dir.join(path)).with_context(|| format!("reading {path}"))
    }

    /// What is in a directory of the tree.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir.join(path)).with_context(|| format!("listing {path}"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub fn finish(mut self) -> Result<()> {
        if let Some(console) = &mut self.console {
            console.kill()?;
        }
        self.console = None;
        // An nspawn that was killed leaves it.
        for name in &self.machines {
            let _ = fs::remove_dir(format!("/run/systemd/nspawn/propagate/{name}"));
        }
        self.sandbox.finish()
    }
}

/// Whether nspawn ended as after a power-off.
pub fn powered_off(status: ExitStatus) -> Result<()> {
    ensure!(status.code() == Some(0), "the machine ended with {status}");
    Ok(())
}
