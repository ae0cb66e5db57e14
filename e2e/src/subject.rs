//! repot as the long runs drive it: with directories of its own, as a program only; and what a machine of it leaves on the
//! host.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host;
use crate::process::{self, Done};

/// No command takes longer, unless it hangs: systemd gives its stop jobs 90 s.
pub const LIMIT: Duration = Duration::from_secs(240);

/// A repot with directories of its own, which are removed at the end.
#[derive(Debug)]
pub struct Subject {
    binary: PathBuf,
    dir: PathBuf,
}

/// A process of repot itself that works for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// On the host.
    pub pid: u32,
    /// Its arguments, with blanks between them.
    pub command: String,
    /// Whether it is the machine's supervisor, or a copy of it that is about to become PID 1.
    pub is_supervisor: bool,
}

impl Subject {
    /// The program that `REPOT_BIN` names, with new directories in `/var/tmp`: overlays do not stack on the overlay that a
    /// container has for `/tmp`.
    ///
    /// # Errors
    /// `REPOT_BIN` is not set, this is not root, or the directories cannot be made.
    pub fn new(purpose: &str) -> Result<Subject> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this boots machines, which needs root"
        );
        let binary = std::env::var_os("REPOT_BIN").map(PathBuf::from);
        let binary = binary.context("REPOT_BIN must name the program under test")?;
        let binary = binary
            .canonicalize()
            .with_context(|| format!("looking for {}", binary.display()))?;
        let dir = PathBuf::from(format!("/var/tmp/repot-{purpose}-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Subject { binary, dir })
    }

    /// Where it keeps what runs.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Where it keeps its machines.
    #[must_use]
    pub fn machines(&self) -> PathBuf {
        self.dir.join("data/machines")
    }

    /// `repot` with these arguments, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("REPOT_DATA_DIR", self.dir.join("data"))
            .env("REPOT_RUN_DIR", self.running());
        command
    }

    /// Runs `repot` to its end.
    ///
    /// # Errors
    /// It takes longer than [`LIMIT`].
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Done> {
        process::run(&mut self.command(args), b"", LIMIT)
    }

    /// Runs `repot`, which must end with 0; what it printed.
    ///
    /// # Errors
    /// It ends with another status.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Result<String> {
        let done = self.run(args)?;
        ensure!(done.code == 0, "repot {args:?}: {done}");
        Ok(done.out())
    }

    /// What `repot list` shows, by name.
    ///
    /// # Errors
    /// It fails.
    pub fn list(&self) -> Result<BTreeMap<String, Value>> {
        let document: Value = serde_json::from_str(&self.ok(&["list", "--json"])?)?;
        let rows = document["machines"].as_array().cloned();
        let named = |row: Value| Some((row["name"].as_str()?.to_owned(), row));
        Ok(rows
            .context("reading the list")?
            .into_iter()
            .filter_map(named)
            .collect())
    }

    /// The processes of repot with that word in their arguments, and those that `starter` has made of itself.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn workers(&self, name: &str, starter: Option<u32>) -> Result<Vec<Worker>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
                continue;
            };
            if !fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.binary) {
                continue;
            }
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            let words: Vec<&str> = words.split('\0').collect();
            let is_ours = words.contains(&name);
            if is_ours || (starter.is_some() && (Some(pid) == starter || parent(pid) == starter)) {
                found.push(Worker {
                    pid,
                    is_supervisor: words.get(1) == Some(&"supervise"),
                    command: words.join(" "),
                });
            }
        }
        Ok(found)
    }

    /// What there is on this host of a machine that does not run: processes, mounts, cgroups, run-time files, a held lock.
    /// The record of a machine and what it wrote are no leftovers.
    ///
    /// # Errors
    /// The host cannot be looked at.
    pub fn leftovers(&self, name: &str) -> Result<Vec<String>> {
        let mut left: Vec<String> = host::processes_mentioning(name)?
            .into_iter()
            .map(|line| format!("process {line}"))
            .collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(name))
                .map(|line| format!("mount {line}")),
        );
        left.extend(
            host::cgroups()?
                .into_iter()
                .filter(|path| path.ends_with(name))
                .map(|path| format!("cgroup {path}")),
        );
        let state = self.running().join(name);
        if state.exists() {
            left.push(format!("directory {}", state.display()));
        }
        if self.is_held(name)? {
            left.push("a held lock".into());
        }
        Ok(left)
    }

    /// Whether somebody has the machine: a command, its supervisor, or a process that is dying.
    ///
    /// # Errors
    /// The lock cannot be tried.
    pub fn is_held(&self, name: &str) -> Result<bool> {
        is_locked(&self.running().join(".locks").join(name))
    }

    /// Entries of the directories of machines, on disk and while running, but for these and those of repot itself.
    #[must_use]
    pub fn strangers(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        [self.running(), self.machines()]
            .iter()
            .filter_map(|dir| fs::read_dir(dir).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                !name.starts_with('.') && !known(&name)
            })
            .map(|entry| entry.path().display().to_string())
            .collect()
    }

    /// Removes its directories. Machines must have been removed before.
    ///
    /// # Errors
    /// Something is still in use.
    pub fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Whether somebody holds the lock of a file.
fn is_locked(path: &Path) -> Result<bool> {
    let Ok(file) = fs::File::open(path) else {
        return Ok(false);
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno).with_context(|| format!("trying the lock of {}", path.display())),
    }
}
