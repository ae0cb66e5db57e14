//! Container systems for one test alone: a Docker or containerd daemon, a store of Podman's. Everything that they keep lies in a
//! directory of the test's, their cgroups have a name of its own, and nothing of the host's network is touched; so what is
//! left when they have ended is of the test, and can be seen.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// How long a daemon may take to answer, and to end. Generous: the machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A container system that is running; ended when dropped, if [`Daemon::end`] was not called.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    /// What tells its clients where it is.
    env: Vec<(&'static str, String)>,
    /// The name of its cgroups, below the root of each hierarchy.
    cgroup: String,
    /// Whether others of these tests use the same.
    is_shared: bool,
    is_over: bool,
}

impl Daemon {
    /// dockerd, with its files in `dir`. `id` is a word that nobody else uses.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn docker(dir: &Path, id: &str) -> Result<Daemon> {
        Self::dockerd(Command::new("dockerd"), dir, id)
    }

    /// The same on another kind of host: in a mount namespace that this shell script has changed.
    ///
    /// # Errors
    /// As for [`Daemon::docker`].
    pub fn docker_on(dir: &Path, id: &str, script: &str) -> Result<Daemon> {
        let script = format!("{script} && exec dockerd \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(["sh", "-c", &script, "sh"]);
        Self::dockerd(command, dir, id)
    }

    fn dockerd(mut command: Command, dir: &Path, id: &str) -> Result<Daemon> {
        let place = make(dir, "docker")?;
        let address = format!("unix://{}/d.sock", place.display());
        command
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
            ])
            .args(["--bridge=none", "--userland-proxy=false"])
            .arg(format!("--host={address}"))
            .arg(format!("--data-root={}/data", place.display()))
            .arg(format!("--exec-root={}/exec", place.display()))
            .arg(format!("--pidfile={}/pid", place.display()))
            .arg(format!("--cgroup-parent=/{id}"));
        let daemon = Daemon {
            child: Some(start(&mut command, &place)?),
            env: vec![("DOCKER_HOST", address)],
            cgroup: id.to_owned(),
            is_shared: false,
            is_over: false,
        };
        daemon.await_answer(&["docker", "version"], &place)
    }

    /// containerd, with its files in `dir`.
    ///
    /// # Errors
    /// As for [`Daemon::docker`].
    pub fn containerd(dir: &Path, id: &str) -> Result<Daemon> {
        let place = make(dir, "containerd")?;
        let address = format!("{}/c.sock", place.display());
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{address}\"\n",
            place.display()
        );
        let file = place.join("config.toml");
        fs::write(&file, config).context("writing containerd's settings")?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&file);
        let daemon = Daemon {
            child: Some(start(&mut command, &place)?),
            env: vec![
                ("CONTAINERD_ADDRESS", address),
                // Cgroups are named after it.
                ("CONTAINERD_NAMESPACE", id.to_owned()),
            ],
            cgroup: id.to_owned(),
            is_shared: false,
            is_over: false,
        };
        daemon.await_answer(&["ctr", "version"], &place)
    }

    /// Podman's storage and settings in `dir`; it needs no daemon.
    ///
    /// # Errors
    /// Its settings cannot be written.
    pub fn podman(dir: &Path) -> Result<Daemon> {
        let place = make(dir, "podman")?;
        let at = place.display();
        let storage = place.join("storage.conf");
        let text = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/graph\"\nrunroot = \"{at}/run\"\n"
        );
        fs::write(&storage, text).context("writing Podman's settings")?;
        let settings = place.join("containers.conf");
        // The rest follows from the storage: Podman's own clean-up process is told of nothing else.
        let text = format!("[engine]\nevents_logger = \"file\"\ntmp_dir = \"{at}/tmp\"\n");
        fs::write(&settings, text).context("writing Podman's settings")?;
        *users() += 1;
        Ok(Daemon {
            child: None,
            env: vec![
                ("CONTAINERS_STORAGE_CONF", storage.display().to_string()),
                ("CONTAINERS_CONF", settings.display().to_string()),
            ],
            // Made by Podman for all its containers, and left there (libpod, `CgroupfsDefaultCgroupParent`).
            cgroup: "libpod_parent".to_owned(),
            is_shared: true,
            is_over: false,
        })
    }

    /// The daemon's process, if there is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Variables by which its clients find it.
    pub fn env(&self) -> &[(&'static str, String)] {
        &self.env
    }

    /// A client's command, run to its end, which must be a good one; what it printed.
    ///
    /// # Errors
    /// It fails, or takes too long.
    pub fn ask(&self, argv: &[&str]) -> Result<String> {
        let done = process::run(&mut self.client(argv)?, b"", PATIENCE)?;
        ensure!(done.code == 0, "{argv:?}: {done}");
        Ok(done.out())
    }

    fn client(&self, argv: &[&str]) -> Result<Command> {
        let (program, args) = argv.split_first().context("reading a command")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn await_answer(self, argv: &[&str], place: &Path) -> Result<Daemon> {
        let answers = || {
            let done = process::run(&mut self.client(argv)?, b"", PATIENCE)?;
            Ok(done.code == 0)
        };
        process::until("the daemon answers", PATIENCE, answers).with_context(|| {
            let log = fs::read_to_string(place.join("log")).unwrap_or_default();
            format!("the daemon has said: {log}")
        })?;
        Ok(self)
    }

    /// Ends it, and takes away what it leaves in the host's cgroups.
    ///
    /// # Errors
    /// It does not end when asked, or a container's cgroup is left.
    pub fn end(mut self) -> Result<()> {
        self.shut_down()?;
        let left = self.cgroups();
        ensure!(
            self.is_shared || left.is_empty(),
            "cgroups are left: {left:?}"
        );
        Ok(())
    }

    fn shut_down(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.context("reading a PID")?, Signal::TERM)
                .context("asking the daemon to end")?;
            process::wait(&mut child, PATIENCE).context("waiting for the daemon's end")?;
        }
        if self.is_shared {
            let mut users = users();
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.remove_cgroups();
            }
        } else {
            self.remove_cgroups();
        }
        self.is_over = true;
        Ok(())
    }

    /// Those that are there.
    fn cgroups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
        hierarchies
            .map(|entry| entry.path().join(&self.cgroup))
            .chain([root.join(&self.cgroup)])
            .filter(|path| path.is_dir())
            .collect()
    }

    /// What holds a container or a process stays.
    fn remove_cgroups(&self) {
        for path in self.cgroups() {
            let _ = fs::remove_dir(path);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Unless `end` was called: the test has failed already.
        if !self.is_over {
            let _ = self.shut_down();
        }
    }
}

/// How many tests use Podman now: they share the cgroup above those of its containers.
fn users() -> std::sync::MutexGuard<'static, usize> {
    static USERS: Mutex<usize> = Mutex::new(0);
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(dir: &Path, name: &str) -> Result<PathBuf> {
    let place = dir.join(name);
    fs::create_dir(&place).with_context(|| format!("creating {}", place.display()))?;
    Ok(place)
}

fn start(command: &mut Command, place: &Path) -> Result<Child> {
    let log = File::create(place.join("log")).context("creating a log")?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("opening a log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {command:?}"))
}
