//! An LXD or an Incus of a test's own: its own directory, storage pool and socket, in mount and network namespaces of its own,
//! so that nothing that it mounts is ever seen by others and all of that ends with it. [`crate::lxd`] and [`crate::incus`] start
//! them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process;

/// How long it may take to be there, or to go.
const PATIENCE: Duration = Duration::from_secs(90);

/// The beginning of each [`Kind::script`]. The kernel lets a user namespace mount a sysfs only beside one that can be seen in
/// full and is not read-only as a whole, which the host's may have become: a privileged container that shares the host's network
/// has the same one, and Debian's sysvinit in it mounts it again as it finds it, read-only. A new network namespace has its own.
const OWN_SYSFS: &str = r#"mkdir "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
umount -l "$1/cgroup"
"#;

/// One storage pool in a directory, no network.
const PRESEED: &str = "config: {}
storage_pools:
- name: default
  driver: dir
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
";

/// In what the two differ.
#[derive(Debug)]
pub(crate) struct Kind {
    /// `sh -c SCRIPT sh DIR PROGRAMS`: becomes the daemon, which logs to `DIR/log`.
    pub(crate) script: &'static str,
    /// Its client.
    pub(crate) client: &'static str,
    /// What `waitready`, `init` and `shutdown` are verbs of.
    pub(crate) admin: &'static [&'static str],
    /// The variable that says where the daemon keeps things.
    pub(crate) dir: &'static str,
    /// The variable that says where the client does.
    pub(crate) conf: &'static str,
}

/// Stopped and removed when dropped.
#[derive(Debug)]
pub struct Instances {
    kind: &'static Kind,
    dir: PathBuf,
    /// Where programs are looked for, if it is not where they always are.
    path: Option<String>,
    child: Child,
}

impl Instances {
    /// Starts it, with everything in `dir`, which exists and holds nothing of it yet. `programs` is the second argument of the
    /// script, `path` where its client is looked for.
    pub(crate) fn start(
        kind: &'static Kind,
        dir: &Path,
        programs: &Path,
        path: Option<String>,
    ) -> Result<Instances> {
        let said = dir.join("said");
        let output = File::create(&said).context("creating a log")?;
        let child = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-ec"])
            .arg(format!("{OWN_SYSFS}{}", kind.script))
            .arg("sh")
            .args([dir, programs])
            .env(kind.dir, dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("opening a log")?)
            .stderr(output)
            .spawn()
            .context("starting a daemon")?;
        let instances = Instances {
            kind,
            dir: dir.to_owned(),
            path,
            child,
        };
        let ready = instances
            .admin(&["waitready", "--timeout=60"], "")
            .and_then(|_| instances.admin(&["init", "--preseed"], PRESEED));
        ready.with_context(|| {
            let logs = [said, dir.join("log")];
            let logs = logs.map(|log| fs::read_to_string(log).unwrap_or_default());
            format!("its daemon has said: {}{}", logs[0], logs[1])
        })?;
        Ok(instances)
    }

    /// Variables for what is to find it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let conf = self.dir.join("client");
        let places = [(self.kind.dir, &self.dir), (self.kind.conf, &conf)];
        let mut env: Vec<_> = places
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec();
        env.extend(self.path.clone().map(|path| ("PATH".to_owned(), path)));
        env
    }

    /// Names of all instances and fingerprints of all images.
    ///
    /// # Errors
    /// It does not answer.
    pub fn contents(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for words in [&["list"][..], &["image", "list"]] {
            let argv = [&[self.kind.client], words, &["--format", "csv"]].concat();
            found.extend(self.ask(&argv, "")?.lines().map(str::to_owned));
        }
        Ok(found)
    }

    fn admin(&self, words: &[&str], input: &str) -> Result<String> {
        self.ask(&[self.kind.admin, words].concat(), input)
    }

    fn ask(&self, argv: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new("env");
        command
            .args(
                self.env()
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .args(argv);
        let done = process::run(&mut command, input.as_bytes(), PATIENCE)?;
        ensure!(done.code == 0, "{argv:?}: {done}");
        Ok(done.out())
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let _ = self.admin(&["shutdown", "--timeout=30"], "");
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What liblxc keeps a place in, in each hierarchy; it stays if another one is just using it.
        for hierarchy in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = fs::remove_dir(hierarchy.path().join("lxc.pivot"));
        }
    }
}
