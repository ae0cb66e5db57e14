//! One test's own repot: its directories, its machines, and the proof that nothing of them is left.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use repot_e2e::console::Console;
use repot_e2e::host::{HostState, processes_mentioning};
use repot_e2e::process::{self, Done};
use repot_e2e::stamps::Stamps;
use repot_e2e::trees::Tree;
use repot_e2e::user::User;
use serde_json::Value;

/// For one command that is not expected to take long. Generous: the machine may be loaded.
pub const LONG: Duration = Duration::from_secs(200);
/// For an answer that comes at once.
pub const SHORT: Duration = Duration::from_secs(60);

/// Directories of its own for one test; removes what is left of it when dropped.
pub struct Sandbox {
    dir: tempfile::TempDir,
    id: String,
    before: HostState,
    bases: Vec<(PathBuf, Stamps)>,
    program: PathBuf,
    machines: AtomicU32,
    /// What starts `repot`: nothing, or programs that become another user or go to another kind of host first.
    around: Vec<String>,
    /// Variables for every command.
    env: Vec<(&'static str, String)>,
    /// What keeps the mount namespace of [`Sandbox::on_a_lasting_host`]. Fields are dropped after everything else.
    host: Option<Host>,
    is_checked: bool,
}

impl Sandbox {
    /// # Errors
    /// The test does not run as root, or repot cannot be built.
    pub fn new() -> Result<Sandbox> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        ensure!(
            rustix::process::geteuid().is_root(),
            "the end-to-end tests boot machines, which needs root: run them as root (sudo -E cargo test)"
        );
        let program = binary()?.to_owned();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // No test's word may be the beginning of another's.
        let id = format!("e{}x{number:03}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&format!("{id}-")).tempdir();
        Ok(Sandbox {
            dir: dir.context("making a directory")?,
            id,
            before: HostState::capture()?,
            bases: Vec::new(),
            program,
            machines: AtomicU32::new(0),
            around: Vec::new(),
            env: Vec::new(),
            host: None,
            is_checked: false,
        })
    }

    /// The same for a user without privileges, to whom its directory belongs.
    ///
    /// # Errors
    /// As for [`Sandbox::new`], or the program cannot be put where the user reaches it.
    pub fn of_user(user: &User) -> Result<Sandbox> {
        let mut sandbox = Sandbox::new()?;
        let dir = sandbox.dir.path();
        let program = dir.join("repot");
        // By another process: one that a parallel test forks meanwhile would hold the new file open for writing, and nobody could
        // execute it (ETXTBSY).
        let done = process::run(
            Command::new("cp").args([&sandbox.program, &program]),
            b"",
            SHORT,
        )?;
        ensure!(done.code == 0, "copying repot: {done}");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
            .context("opening a directory")?;
        chown(dir, Some(user.uid), Some(user.gid)).context("giving a directory away")?;
        sandbox.around = vec![
            "/usr/bin/setpriv".to_owned(),
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--clear-groups".to_owned(),
            "--".to_owned(),
        ];
        sandbox.program = program;
        Ok(sandbox)
    }

    /// Uses a program that belongs to the user, who could change it, from here on; a second copy of that kind.
    pub fn use_program_of(&mut self, user: &User) -> Result<[PathBuf; 2]> {
        let copies = [self.dir().join("own-repot"), self.dir().join("own-repot-2")];
        for copy in &copies {
            fs::copy(&self.program, copy).context("copying repot")?;
            chown(copy, Some(user.uid), Some(user.gid)).context("giving repot away")?;
        }
        self.program.clone_from(&copies[0]);
        Ok(copies)
    }

    /// Starts every command in this cgroup from here on.
    pub fn in_cgroup(&mut self, dir: &Path) -> Result<()> {
        let move_there = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", utf8(dir)?);
        self.put_around(&["/bin/sh", "-c", &move_there, "sh"]);
        Ok(())
    }

    /// Gives every command these variables from here on.
    pub fn put_env(&mut self, variables: &[(&'static str, String)]) {
        self.env.extend_from_slice(variables);
    }

    /// A word that only this sandbox uses.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A place for files of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where repot keeps things.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where repot keeps what runs.
    pub fn running(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A name for a machine that nobody else uses.
    pub fn name(&self) -> String {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        format!("{}m{number}", self.id)
    }

    /// The name that [`Sandbox::name`] gave last.
    pub fn last_name(&self) -> String {
        format!(
            "{}m{}",
            self.id,
            self.machines.load(Ordering::Relaxed).saturating_sub(1)
        )
    }

    /// All machines of this sandbox.
    pub fn names(&self) -> Result<Vec<String>> {
        let document: Value = serde_json::from_str(&self.ok(&["list", "--json"])?)?;
        let machines = document["machines"]
            .as_array()
            .context("listing machines")?;
        Ok(machines
            .iter()
            .filter_map(|row| row["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// A tree that must be the same at the end.
    ///
    /// # Errors
    /// It cannot be built or read.
    pub fn base(&mut self, tree: Tree) -> Result<String> {
        let path = tree.ensure()?;
        if !self.bases.iter().any(|(known, _)| *known == path) {
            self.bases.push((path.clone(), Stamps::of(&path)?));
        }
        utf8(&path)
    }

    /// Has `repot` started by this shell script, in a mount namespace of its own: on another kind of host.
    pub fn on_a_host(&mut self, script: &str) {
        let script = format!("{script} && exec \"$@\"");
        let unshare = ["unshare", "--mount", "--propagation", "private"];
        self.put_around(&[&unshare[..], &["sh", "-c", &script, "sh"]].concat());
    }

    /// The same in one mount namespace for all commands: what is mounted in it stays mounted between them.
    pub fn on_a_lasting_host(&mut self, script: &str) -> Result<()> {
        let script = format!("({script}) && echo ready && exec sleep infinity");
        let host = Host::start(&["--mount"], &script)?;
        let namespace = format!("--mount=/proc/{}/ns/mnt", host.pid());
        self.put_around(&["/usr/bin/nsenter", &namespace, "--"]);
        self.host = Some(host);
        Ok(())
    }

    /// The same with a user namespace of its own, whose root is the host's, but only with privileges over what belongs to the namespace.
    pub fn on_a_host_without_privileges(&mut self, script: &str) -> Result<()> {
        let script =
            format!("echo here; read maps; ({script}) && echo ready && exec sleep infinity");
        let host = Host::start(&["--user", "--mount"], &script)?;
        let namespaces = ["user", "mnt"].map(|kind| format!("/proc/{}/ns/{kind}", host.pid()));
        self.put_around(&[
            "/usr/bin/nsenter",
            &format!("--user={}", namespaces[0]),
            &format!("--mount={}", namespaces[1]),
            "--setuid=0",
            "--setgid=0",
            "--",
        ]);
        self.host = Some(host);
        Ok(())
    }

    /// Gives every command this variable from here on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.put_around(&["env", &format!("{name}={value}")]);
    }

    /// Puts a program in front of every command from here on.
    pub fn put_around(&mut self, program: &[&str]) {
        let words = program.iter().map(|word| (*word).to_owned());
        self.around.splice(..0, words);
    }

    /// A copy of a tree that the test may spoil.
    pub fn copy(&self, tree: Tree, name: &str) -> Result<PathBuf> {
        let to = self.dir().join(name);
        let mut command = Command::new("cp");
        command.arg("-a").arg(tree.ensure()?).arg(&to);
        let done = process::run(&mut command, b"", LONG)?;
        ensure!(done.code == 0, "{done}");
        Ok(to)
    }

    /// `repot` with these arguments, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Command> {
        self.command_by(&self.program, args)
    }

    /// The same with another copy of the program.
    pub fn command_by<S: AsRef<OsStr>>(&self, program: &Path, args: &[S]) -> Result<Command> {
        let mut words = self
            .around
            .iter()
            .map(OsStr::new)
            .chain([program.as_os_str()]);
        let mut command = Command::new(words.next().context("finding repot")?);
        command
            .args(words)
            .args(args)
            .env("REPOT_DATA_DIR", self.data())
            .env("REPOT_RUN_DIR", self.running())
            .env("TERM", "xterm")
            .env_remove("REPOT_LOG")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs `repot` with these arguments, without a terminal.
    pub fn repot<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Done> {
        process::run(&mut self.command(args)?, b"", LONG)
    }

    /// The same with something on standard input.
    pub fn repot_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Done> {
        process::run(&mut self.command(args)?, input, LONG)
    }

    /// Runs `repot`, which must end with 0; what it printed.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Result<String> {
        self.expect(args, 0).map(|done| done.out())
    }

    /// Runs `repot`, which must end with this status.
    pub fn expect<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S], code: i32) -> Result<Done> {
        let done = self.repot(args)?;
        ensure!(
            done.code == code,
            "repot {args:?}: expected status {code}, got {done}"
        );
        Ok(done)
    }

    /// Runs a command in a machine, which must end with 0; what it printed, without the last newline.
    pub fn exec(&self, name: &str, command: &[&str]) -> Result<String> {
        let output = self.ok(&[&["exec", name], command].concat())?;
        Ok(output.trim_end_matches('\n').to_owned())
    }

    /// `repot` on a terminal.
    pub fn console<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Console> {
        Console::spawn(&self.command(args)?)
    }

    /// The machine's row of `repot list --json`.
    pub fn row(&self, name: &str) -> Result<Option<Value>> {
        let document: Value = serde_json::from_str(&self.ok(&["list", "--json"])?)?;
        let machines = document["machines"]
            .as_array()
            .context("listing machines")?;
        Ok(machines.iter().find(|row| row["name"] == name).cloned())
    }

    /// The state of a machine, empty if there is none.
    pub fn state(&self, name: &str) -> Result<String> {
        let row = self.row(name)?;
        Ok(row
            .and_then(|row| row["state"].as_str().map(str::to_owned))
            .unwrap_or_default())
    }

    /// `repot status --json`.
    pub fn status(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.ok(&["status", name, "--json"])?,
        )?)
    }

    /// Nothing of this test is left: no process, mount, cgroup, device, no run-time state; no kernel setting and
    /// no base tree has changed. Call it last, when all machines have ended and been removed.
    pub fn finish(mut self) -> Result<()> {
        self.host = None;
        let mut left = Vec::new();
        let gone = process::until("nothing of the test is left", SHORT, || {
            left = self.leftovers()?;
            Ok(left.is_empty())
        });
        gone.with_context(|| format!("left behind: {left:#?}"))?;
        for (path, before) in &self.bases {
            let changed = before.changed(&Stamps::of(path)?);
            ensure!(changed.is_empty(), "in a tree has changed: {changed:?}");
        }
        self.is_checked = true;
        Ok(())
    }

    fn leftovers(&self) -> Result<Vec<String>> {
        let mut left: Vec<String> = processes_mentioning(&self.id)?.into_iter().collect();
        if !left.is_empty() {
            // Looked for again and again until they have ended; the rest takes longer to look at.
            return Ok(left);
        }
        let everything = HostState::diff(&self.before, &HostState::capture()?);
        left.extend(everything.into_iter().filter(|line| {
            let is_shared = line.contains(" sysctl ") || line.contains(" network device ");
            is_shared || line.contains(&self.id)
        }));
        for dir in [self.running(), self.data().join("machines")] {
            let Ok(entries) = std::fs::read_dir(&dir) else {
                continue;
            };
            // Locks survive on purpose, else two commands could hold two files of one name.
            let entries = entries
                .flatten()
                .filter(|entry| entry.file_name() != ".locks");
            left.extend(entries.map(|entry| format!("+ file {}", entry.path().display())));
        }
        Ok(left)
    }
}

/// A process that does nothing but keep namespaces.
struct Host(std::process::Child);

impl Host {
    /// Starts it by this script, which says `ready`; or `here` before, and is then told that its namespace has IDs.
    fn start(namespaces: &[&str], script: &str) -> Result<Host> {
        let mut host = Command::new("unshare")
            .args(namespaces)
            .args(["--propagation", "private", "sh", "-ec", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let input = host.stdin.take().context("writing to unshare")?;
        let output = host.stdout.take().context("reading from unshare")?;
        let host = Host(host);
        let (mut output, mut said) = (BufReader::new(output), String::new());
        output.read_line(&mut said)?;
        if said == "here\n" {
            for map in ["uid_map", "gid_map"] {
                let path = format!("/proc/{}/{map}", host.pid());
                // Not all, which would be the map of the first namespace of all.
                fs::write(&path, "0 0 1000000\n").with_context(|| format!("writing {path}"))?;
            }
            (&input).write_all(b"\n")?;
            said.clear();
            output.read_line(&mut said)?;
        }
        ensure!(said == "ready\n", "the host was not set up: {said:?}");
        Ok(host)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A test that failed half-way: its machines must not disturb the others.
        if !self.is_checked {
            self.remove_machines();
        }
    }
}

impl Sandbox {
    /// Ends and removes all machines, as far as that can be done.
    pub fn remove_machines(&self) {
        for dir in [self.running(), self.data().join("machines")] {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') {
                    let _ = self.repot(&["rm", "--force", &name]);
                }
            }
        }
    }
}

/// A path as a command's argument.
pub fn utf8(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("reading a path")
}

/// The program under test: `$REPOT_BIN`, else built now, once per test process.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match built {
        Ok(path) => Ok(path),
        Err(why) => bail!("building repot: {why}"),
    }
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("REPOT_BIN").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Where cargo puts the binary depends on its configuration, so it is asked.
    command
        .args([
            "build",
            "--package",
            "repot",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let done = process::run(&mut command, b"", Duration::from_secs(1800))?;
    ensure!(done.code == 0, "cargo build: {}", done.err());
    let output = done.out();
    let mut executables = output.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "repot").then_some(())?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("finding the built repot")
}
