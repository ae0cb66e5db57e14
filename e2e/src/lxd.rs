//! An LXD of a test's own: its own directory, storage pool and socket, in mount and network namespaces of its own, so that
//! nothing that it mounts is ever seen by others and all of that ends with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process;

/// How long it may take to be there, or to go.
const PATIENCE: Duration = Duration::from_secs(90);

/// `sh -c SCRIPT sh DIR`. The kernel lets a user namespace mount a sysfs only beside one that can be seen in full and is not
/// read-only as a whole, which the host's may have become: a privileged container that shares the host's network has the same
/// one, and Debian's sysvinit in it mounts it again as it finds it, read-only. A new network namespace has its own.
const SCRIPT: &str = "mkdir \"$1/cgroup\"
mount --rbind /sys/fs/cgroup \"$1/cgroup\"
mount -t sysfs sysfs /sys
mount --rbind \"$1/cgroup\" /sys/fs/cgroup
umount -l \"$1/cgroup\"
exec lxd --group root --logfile \"$1/log\"";

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

/// Stopped and removed when dropped.
#[derive(Debug)]
pub struct Lxd {
    dir: PathBuf,
    child: Child,
}

impl Lxd {
    /// Starts it, with everything in `dir`, which must not exist.
    ///
    /// # Errors
    /// LXD is not installed, or does not come up.
    pub fn start(dir: &Path) -> Result<Lxd> {
        std::fs::create_dir(dir).context("making LXD's directory")?;
        let child = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private"])
            .args(["sh", "-ec", SCRIPT, "sh"])
            .arg(dir)
            .env("LXD_DIR", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting lxd")?;
        let lxd = Lxd {
            dir: dir.to_owned(),
            child,
        };
        lxd.client(Command::new("lxd").args(["waitready", "--timeout=60"]), "")?;
        lxd.client(Command::new("lxd").args(["init", "--preseed"]), PRESEED)?;
        Ok(lxd)
    }

    /// Variables for what is to find it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let conf = self.dir.join("client");
        [("LXD_DIR", &self.dir), ("LXD_CONF", &conf)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec()
    }

    /// Names of all instances and fingerprints of all images.
    ///
    /// # Errors
    /// It does not answer.
    pub fn contents(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for words in [&["list"][..], &["image", "list"]] {
            let mut command = Command::new("lxc");
            command.args(words).args(["--format", "csv"]);
            found.extend(self.client(&mut command, "")?.lines().map(str::to_owned));
        }
        Ok(found)
    }

    fn client(&self, command: &mut Command, input: &str) -> Result<String> {
        let done = process::run(command.envs(self.env()), input.as_bytes(), PATIENCE)?;
        ensure!(done.code == 0, "{command:?}: {done}");
        Ok(done.out())
    }
}

impl Drop for Lxd {
    fn drop(&mut self) {
        let _ = self.client(Command::new("lxd").args(["shutdown", "--timeout=30"]), "");
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What liblxc keeps a place in, in each hierarchy; it stays if another one is just using it.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::fs::remove_dir(hierarchy.path().join("lxc.pivot"));
        }
    }
}
