//! The container systems that repot can hand a machine to, one file each.
//!
//! An engine says whether it can be used on this host ([`Engine::discover`], which runs `PROGRAM --version` and the like), what it
//! gives to a machine ([`Engine::offers`]), and how a machine is run in it ([`Engine::hand_over`]); the last two are pure. Who
//! carries that out is the supervisor in `repot-runtime`. What a tree needs is none of this crate's business: no file here asks
//! for an init or a distribution.
//!
//! To add one: a file here with an [`Engine`], `cargo xtask gen` for its `mod` line, an entry in [`ENGINES`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod binfmt;
mod chroot;
mod containerd;
mod docker;
mod host;
mod incus;
mod instances;
mod lxc;
mod lxd;
mod machinectl;
mod names;
mod native;
mod nspawn;
mod oci;
mod podman;
mod probe;
mod rkt;
mod wsl;

pub use host::{CgroupLayout, Host};
pub use native::native_offers;
pub use oci::{image_argv, image_capabilities};

use repot_model::{
    BindMount, CommandLine, EngineId, HandOver, Limits, MachineName, Network, Offers, Signal,
    TmpfsMount,
};
use std::path::PathBuf;

/// One container system.
pub trait Engine: Sync + std::fmt::Debug {
    /// Its ID: the name of its file, with `-` for `_`.
    fn id(&self) -> &'static str;

    /// Whether it is here, in which version, and whether it can be used. Runs the engine's own programs, each with a deadline.
    fn discover(&self, host: &Host) -> Discovery;

    /// What it gives to a machine that repot starts in it on this host. Pure; where it was not found, what it would give.
    fn offers(&self, host: &Host, found: &Discovery) -> Offers;

    /// How that machine is run in it. Pure.
    ///
    /// # Errors
    /// [`Error::CannotHost`]: something that was asked for does not exist there.
    fn hand_over(&self, launch: &Launch, host: &Host, found: &Discovery) -> Result<HandOver>;

    /// How a single command, `launch.argv`, is run in the tree by it. Pure. `HandOver::start` has the caller's terminal, ends with
    /// the command, and takes everything along that the command has left.
    ///
    /// # Errors
    /// [`Error::CannotHost`]: it boots whole machines only, or something that was asked for does not exist there.
    fn run_command(&self, _launch: &Launch, _host: &Host, _found: &Discovery) -> Result<HandOver> {
        Err(Error::CannotHost {
            engine: EngineId(self.id().to_owned()),
            why: "single commands are run by repot itself, by chroot or by nspawn; this one boots whole machines".to_owned(),
        })
    }

    /// How its own documentation has one start a tree, with nothing that repot knows: for `repot try --before`. Pure. `None`:
    /// there is no such command, or nobody has looked for it.
    fn unaided(&self, _launch: &Launch, _host: &Host, _found: &Discovery) -> Option<HandOver> {
        None
    }

    /// The command that lists all machines of the engine's, whoever made them: a line each, with tabs or commas between name,
    /// state, and what it was made from; the last two may be missing. `None`: it keeps no list.
    fn listing(&self, _host: &Host) -> Option<CommandLine> {
        None
    }
}

/// A machine in an engine's own list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What the engine calls it.
    pub name: String,
    /// As the engine says it, in lower case: `running`, `exited`.
    pub state: String,
    /// What it was made from.
    pub source: String,
}

/// Asks an engine for its list; empty if it keeps none or does not answer.
pub fn listed(engine: &dyn Engine, host: &Host) -> Vec<Listed> {
    let Some(command) = engine.listing(host) else {
        return Vec::new();
    };
    let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
    let env: Vec<(&str, &str)> = command
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    match probe::ask(&argv, &env) {
        Some(answer) if answer.ok => listed_in(&answer.stdout),
        Some(_) | None => Vec::new(),
    }
}

fn listed_in(text: &str) -> Vec<Listed> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(['\t', ',']).map(str::trim);
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let mut next = || fields.next().unwrap_or_default().to_owned();
            Some(Listed {
                name,
                state: next().to_lowercase(),
                source: next(),
            })
        })
        .collect()
}

/// All engines but the native runtime, sorted by ID.
pub static ENGINES: &[&dyn Engine] = &[
    &chroot::Chroot,
    &containerd::Containerd,
    &docker::Docker,
    &incus::Incus,
    &lxc::Lxc,
    &lxd::Lxd,
    &machinectl::Machinectl,
    &nspawn::Nspawn,
    &podman::Podman,
    &rkt::Rkt,
    &wsl::Wsl,
];

/// The engine of that ID.
pub fn engine(id: &str) -> Option<&'static dyn Engine> {
    ENGINES.iter().find(|engine| engine.id() == id).copied()
}

/// What was found of an engine on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// As the engine states it: `252`.
    pub version: Option<String>,
    /// Whether it can be used.
    pub state: Usable,
}

/// Whether an engine can be used on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usable {
    /// It can.
    Yes,
    /// It is not installed.
    Missing {
        /// The command that installs it.
        hint: String,
    },
    /// It is there, but does not work.
    No {
        /// Why.
        why: String,
        /// What mends it.
        hint: String,
    },
}

/// A machine to be handed over: what its tree's needs, the rules and the user have come to.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name, also in the engine, prefixed where the engine's names are shared with others'.
    pub name: MachineName,
    /// Its host name.
    pub hostname: String,
    /// 32 hexadecimal digits.
    pub uuid: String,
    /// argv of PID 1. The first is the program, an absolute path in the tree.
    pub argv: Vec<String>,
    /// Variables for PID 1, among them `container` where it matters.
    pub env: Vec<(String, String)>,
    /// The signal that asks its init to power off, if there is one.
    pub power_off: Option<Signal>,
    /// How long a shutdown may take, in seconds.
    pub patience_s: u32,
    /// cgroup layouts that the init can work with, best first. Empty: it does not care.
    pub cgroups: Vec<repot_model::CgroupVersion>,
    /// The network wanted.
    pub network: Network,
    /// Binds wanted.
    pub binds: Vec<BindMount>,
    /// tmpfs mounts wanted.
    pub tmpfs: Vec<TmpfsMount>,
    /// Limits wanted.
    pub limits: Limits,
    /// Whether its gettys end where their terminal is the controlling one of somebody else.
    pub claims_terminal: bool,
    /// Whether repot's supervisor looks after it. Not so for what is typed by hand.
    pub is_supervised: bool,
    /// Names of terminals that the tree's gettys listen on.
    pub terminals: Vec<String>,
    /// repot's own place for the machine in each of the host's cgroup hierarchies, relative to its root: for an engine that can
    /// be told where to make its cgroups. `None`: there is none that may be written to.
    pub cgroup: Option<String>,
    /// The program in the tree that powers off, with its arguments, if the init has one.
    pub power_off_program: Option<Vec<String>>,
    /// The machine's directory on disk, for files that the engine wants.
    pub dir: PathBuf,
    /// The machine's run-time directory.
    pub run: PathBuf,
}

impl Launch {
    /// What the machine, and an image of it, are called in engines whose names are shared with others.
    pub fn engine_name(&self) -> String {
        engine_name(&self.name)
    }

    /// Whether the init can work with that layout.
    pub fn can_use(&self, version: repot_model::CgroupVersion) -> bool {
        self.cgroups.is_empty() || self.cgroups.contains(&version)
    }
}

/// What a machine, and an image of it, are called in engines whose names are shared with others.
pub fn engine_name(name: &MachineName) -> String {
    names::image_name(&format!("repot-{name}"))
}

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A machine that an engine cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that was asked for does not exist there.
    #[error("{engine} cannot run this: {why}")]
    CannotHost {
        /// Which engine.
        engine: EngineId,
        /// What it is about.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::CgroupVersion;

    pub(crate) use crate::host::tests::host;

    /// A machine that asks for something of everything.
    pub(crate) fn launch() -> Launch {
        Launch {
            name: "web".parse().unwrap(),
            hostname: "web.example".into(),
            uuid: "0123456789abcdef0123456789abcdef".into(),
            argv: vec!["/sbin/init".into(), "--log-target=console".into()],
            env: vec![("TERM".into(), "xterm".into())],
            power_off: Some(Signal::rtmin(4)),
            patience_s: 90,
            cgroups: vec![CgroupVersion::V2],
            network: Network::None,
            binds: vec![BindMount {
                host_path: "/usr/share/a b".into(),
                guest_path: "/mnt".into(),
                read_only: true,
            }],
            tmpfs: vec![TmpfsMount {
                guest_path: "/scratch".into(),
                options: "size=1m".into(),
            }],
            limits: Limits {
                memory_bytes: Some(64 << 20),
                cpus_milli: Some(1500),
                pids: Some(100),
                pids_is_default: true,
                io_weight: None,
            },
            claims_terminal: false,
            is_supervised: true,
            terminals: vec!["tty1".into(), "tty8".into(), "ttyS0".into()],
            cgroup: Some("repot/web".into()),
            power_off_program: Some(vec!["/sbin/poweroff".into(), "-f".into()]),
            dir: "/var/lib/repot/machines/web".into(),
            run: "/run/repot/web".into(),
        }
    }

    /// An engine that was found.
    pub(crate) fn found(version: &str) -> Discovery {
        Discovery {
            version: Some(version.to_owned()),
            state: Usable::Yes,
        }
    }

    #[test]
    fn lists_are_read() {
        let rows = listed_in("web\tUp\timage:1\n\nold,STOPPED\nbare\n");
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.state.as_str(), row.source.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("web", "up", "image:1"),
                ("old", "stopped", ""),
                ("bare", "", "")
            ]
        );
    }

    #[test]
    fn emulators_are_the_hosts_everywhere() {
        let host = Host {
            emulators: repot_model::Emulators::SwitchedOff,
            ..Host::typical()
        };
        let found = Discovery {
            version: None,
            state: Usable::Yes,
        };
        for engine in ENGINES {
            let offers = engine.offers(&host, &found);
            assert_eq!(offers.emulators, host.emulators, "{}", engine.id());
        }
        assert_eq!(
            native_offers(&host, Vec::new(), false).emulators,
            host.emulators
        );
    }

    #[test]
    fn the_list_is_sorted_and_matches_the_folder() {
        let ids: Vec<&str> = ENGINES.iter().map(|engine| engine.id()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".rs").replace('_', "-");
            // Shared parts, and the runtime that needs no handing over.
            let shared = [
                "lib",
                "binfmt",
                "host",
                "instances",
                "names",
                "native",
                "oci",
                "probe",
            ];
            if !shared.contains(&stem.as_str()) {
                assert!(ids.contains(&stem.as_str()), "{stem} is in no list");
            }
        }
    }
}
