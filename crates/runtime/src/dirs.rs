//! Where repot keeps things: images and machines, and the run-time state of what runs.

use repot_model::MachineName;
use std::path::{Path, PathBuf};

/// The two directories that everything of ours lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// Images and machines: `/var/lib/repot`, or `$XDG_DATA_HOME/repot`.
    pub data: PathBuf,
    /// Run-time state, gone after a reboot of the host: `/run/repot`, or `$XDG_RUNTIME_DIR/repot`, which is
    /// `/run/user/UID/repot` where it exists and `/tmp/repot-UID/repot` else.
    pub run: PathBuf,
}

impl Dirs {
    /// From the environment: `REPOT_DATA_DIR` and `REPOT_RUN_DIR` win, then root's fixed places, then the XDG base
    /// directories (XDG Base Directory Specification 0.8).
    pub fn from_env() -> Self {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|path| std::path::absolute(&path).unwrap_or_else(|_| path.into()))
        };
        let is_root = rustix::process::geteuid().is_root();
        let uid = rustix::process::geteuid().as_raw();
        let data = var("REPOT_DATA_DIR").unwrap_or_else(|| match is_root {
            true => PathBuf::from("/var/lib/repot"),
            false => var("XDG_DATA_HOME")
                .unwrap_or_else(|| {
                    var("HOME")
                        .unwrap_or_else(|| PathBuf::from("/"))
                        .join(".local/share")
                })
                .join("repot"),
        });
        let run = var("REPOT_RUN_DIR").unwrap_or_else(|| match is_root {
            true => PathBuf::from("/run/repot"),
            false => var("XDG_RUNTIME_DIR")
                .or_else(|| {
                    // Where sudo, su or cron left the variable out, the directory may be there all the same.
                    let usual = PathBuf::from(format!("/run/user/{uid}"));
                    usual.is_dir().then_some(usual)
                })
                .unwrap_or_else(|| Path::new("/tmp").join(Self::fallback_name(uid)))
                .join("repot"),
        });
        Self { data, run }
    }

    /// What the directory in `/tmp` is called that stands in for a missing `XDG_RUNTIME_DIR`.
    pub(crate) fn fallback_name(uid: u32) -> String {
        format!("repot-{uid}")
    }

    /// What is kept of all machines.
    pub fn machines(&self) -> PathBuf {
        self.data.join("machines")
    }

    /// What is kept of one machine between boots.
    pub fn machine(&self, name: &MachineName) -> PathBuf {
        self.machines().join(name.as_str())
    }

    /// Files of a machine that somebody starts by hand.
    pub fn by_hand(&self, name: &MachineName) -> PathBuf {
        self.data.join("by-hand").join(name.as_str())
    }

    /// The run-time state of one machine.
    pub fn running(&self, name: &MachineName) -> PathBuf {
        self.run.join(name.as_str())
    }

    /// The file whose lock says that somebody works with the machine, or runs it. In a folder of its own (whose name
    /// no machine can have), since it must survive the removal of the machine's run-time state.
    pub fn lock_file(&self, name: &MachineName) -> PathBuf {
        self.run.join(".locks").join(name.as_str())
    }
}
