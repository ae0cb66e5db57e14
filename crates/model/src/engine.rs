//! Container systems other than the native runtime: what one gives to a machine, and how a machine is handed over to it.

use crate::{CgroupVersion, Emulators, Signal};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The identity of an engine: the name of the file in `engines/src/` that knows it, such as `native`, `nspawn`, `docker`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineId(pub String);

impl EngineId {
    /// repot's own runtime.
    pub fn native() -> Self {
        Self("native".to_owned())
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an engine gives to a machine on this host, as repot would start it there. Rules compare it with what the tree needs
/// and never ask which engine it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// Whose offers these are: for texts only.
    pub engine: EngineId,
    /// The terminal that its user looks at.
    pub console: OfferedTerminal,
    /// Further names below `/dev` that are terminals there: `tty1` to `tty4`.
    pub terminals: Vec<String>,
    /// Whether gettys on `terminals` show up where the user looks, because they are the console (the native runtime).
    pub tty1_is_console: bool,
    /// Whether terminals that the tree's gettys name come to exist, so that none respawns for ever.
    pub makes_missing_terminals: bool,
    /// Whether repot answers on a console on which nobody else does. Not so in what is exported or typed by hand.
    pub serves_silent_console: bool,
    /// Whether the tree's init becomes PID 1 of a PID namespace. Else no init can be booted (chroot).
    pub is_pid1: bool,
    /// Which program it can start.
    pub program: ProgramOffer,
    /// The value of `container=` that it sets by itself.
    pub container: Option<String>,
    /// Whether variables can be given to PID 1.
    pub takes_env: bool,
    /// cgroup layouts that it can give, writable, best first.
    pub cgroups: Vec<CgroupVersion>,
    /// Capabilities that PID 1 has, as names without `CAP_` (capabilities(7)).
    pub capabilities: Vec<String>,
    /// How its own stop command asks the machine to power off.
    pub stop: StopOffer,
    /// Directories where it mounts something of its own, whatever the tree has there: `/proc`, `/sys`, `/dev`, `/run`.
    pub mounts: Vec<String>,
    /// What it checks in the tree before it starts.
    pub demands: Vec<Demand>,
    /// Number of user and group IDs that exist in the machine.
    pub ids: u32,
    /// Whether limits (getrlimit(2)) can be raised in it: CAP_SYS_RESOURCE over the initial user namespace.
    pub raises_limits: bool,
    /// Whether `/proc/self/loginuid` can be written, or the attempt is ignored (audit(8), pam_loginuid(8)).
    pub sets_loginuid: bool,
    /// What becomes of an attempt to make a session keyring.
    pub keyrings: Keyrings,
    /// How `/sys` is mounted.
    pub sys: Sys,
    /// The network devices beside `lo`: `host0`, `eth0`.
    pub interfaces: Vec<String>,
    /// Whether the machine is on the host's network.
    pub shares_network: bool,
    /// Who puts a resolv.conf into the machine.
    pub resolver: Resolver,
    /// Whether it runs without privileges over the host, so that root of the machine is not root of the host.
    pub unprivileged: bool,
    /// What runs programs of other architectures. In every container it is what the host's kernel has.
    pub emulators: Emulators,
}

impl Offers {
    /// The same for a machine that is on the host's network. Its engine, or what repot tells that to do, then binds the host's file
    /// over `/etc/resolv.conf`.
    #[must_use]
    pub fn on_hosts_network(mut self) -> Self {
        self.shares_network = true;
        if self.resolver == Resolver::Machine {
            self.resolver = Resolver::Engine;
        }
        self
    }

    /// An engine that gives everything: no rule about engines has anything to say. Tests take away what they are about.
    pub fn everything() -> Self {
        Self {
            engine: EngineId("fake".into()),
            console: OfferedTerminal {
                device: "console".into(),
                login_name: "tty1".into(),
            },
            terminals: ["tty1", "tty2", "tty3", "tty4", "tty5", "tty6"]
                .map(str::to_owned)
                .to_vec(),
            tty1_is_console: true,
            makes_missing_terminals: true,
            serves_silent_console: true,
            is_pid1: true,
            program: ProgramOffer::Any,
            container: None,
            takes_env: true,
            cgroups: vec![CgroupVersion::V2, CgroupVersion::V1Systemd],
            capabilities: ["SYS_ADMIN", "SYS_BOOT", "SYS_RESOURCE", "AUDIT_CONTROL"]
                .map(str::to_owned)
                .to_vec(),
            stop: StopOffer::Asks,
            mounts: ["/proc", "/sys", "/dev", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: Vec::new(),
            ids: 65536,
            raises_limits: true,
            sets_loginuid: true,
            keyrings: Keyrings::Given,
            sys: Sys::ReadOnly,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: true,
            emulators: Emulators::Registered(Vec::new()),
        }
    }
}

/// How an engine mounts `/sys`. Read-only, it tells systemd's udev, networkd and logind that devices are not theirs, and from
/// version 258 on systemd itself that the kernel's console is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sys {
    /// Read-only, whoever starts the machine.
    ReadOnly,
    /// Read-only by a setting that repot makes.
    ReadOnlyByRepot,
    /// Writable.
    Writable,
}

impl Sys {
    /// Whether it is for a machine that repot starts.
    pub fn is_read_only(self) -> bool {
        match self {
            Self::ReadOnly | Self::ReadOnlyByRepot => true,
            Self::Writable => false,
        }
    }

    /// The same where somebody else starts the machine: of a tree that is exported, or mended for good.
    #[must_use]
    pub fn without_repot(self) -> Self {
        match self {
            Self::ReadOnly => Self::ReadOnly,
            Self::ReadOnlyByRepot | Self::Writable => Self::Writable,
        }
    }
}

/// A terminal, by the two names that matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedTerminal {
    /// Below `/dev`: `console`. Empty: there is none.
    pub device: String,
    /// What ttyname(3) calls it inside, which is what securetty(5) is compared with: `console`, `pts/0`, `lxc/console`.
    pub login_name: String,
}

/// Which program an engine can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ProgramOffer {
    /// Any, with any arguments.
    Any,
    /// This path only, without arguments.
    Fixed {
        /// Absolute path in the tree.
        path: String,
    },
}

/// How an engine's own stop command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StopOffer {
    /// By a signal to PID 1 that repot chooses; then it kills.
    AnySignal,
    /// By this signal; then it kills.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// Only by repot, in the init's own way.
    Asks,
}

/// Whether session keyrings can be made (keyrings(7)), and what keyctl(2) answers where they cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keyrings {
    /// They can.
    Given,
    /// ENOSYS, which programs that do without one take well.
    Unknown,
    /// EPERM.
    Refused,
}

/// Who looks after name resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolver {
    /// The engine binds a file of its own, or the host's, over `/etc/resolv.conf`.
    Engine,
    /// repot lays the host's file over the tree's.
    Repot,
    /// The machine itself, if it gets a network at all.
    Machine,
}

/// Something that an engine checks in the tree before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// What must be there.
    pub what: Demanded,
    /// The message that its user sees otherwise, word for word.
    pub message: String,
    /// Where that is known from.
    pub source: String,
}

/// What an engine may demand of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demanded {
    /// `/etc/os-release` or `/usr/lib/os-release`, resolved inside the tree.
    OsRelease,
    /// `/usr`.
    Usr,
    /// The mount points `/dev`, `/proc`, `/sys`.
    MountPoints,
    /// An executable `/sbin/init`.
    SbinInit,
    /// `/bin/sh`.
    Shell,
}

/// A program of the host with its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// argv; the first is looked up in the host's `PATH`.
    pub argv: Vec<String>,
    /// Variables added to those of repot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
}

impl CommandLine {
    /// From words.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: words.into_iter().map(Into::into).collect(),
            env: Vec::new(),
        }
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.argv.push(word.into());
        self
    }

    /// The same with one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl fmt::Display for CommandLine {
    /// As one would type it in a shell: words that need it are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={}", shell_word(value)));
        for word in env.chain(self.argv.iter().map(|word| shell_word(word))) {
            if !first {
                f.write_str(" ")?;
            }
            first = false;
            f.write_str(&word)?;
        }
        Ok(())
    }
}

/// A word as a POSIX shell reads it back.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+^".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A file on the host that an engine wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What is in it.
    pub text: String,
}

/// How the tree, with the layer of adapted files over it, gets to an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Delivery {
    /// An overlay of tree, layer and the machine's writes, mounted at `at` in the mount namespace of the supervisor, which
    /// the engine's foreground program inherits. Nobody else sees it, and it ends with them.
    Overlay {
        /// Where, on the host: below the machine's run-time directory.
        at: PathBuf,
    },
    /// An image, written to this file and loaded by `HandOver::setup`.
    Image {
        /// Its form.
        format: ImageFormat,
        /// Where it is written, and removed once `setup` has run.
        file: PathBuf,
    },
}

/// Forms of an image that can be handed to an engine or exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// A tar archive of an OCI image layout (OCI image specification, image-layout.md).
    OciArchive,
    /// What `docker save` writes and every Docker loads.
    DockerArchive,
    /// LXD's and Incus' unified image: `metadata.yaml` and `rootfs/` in one tar archive.
    LxdUnified,
    /// A plain tar archive of the tree.
    Tar,
}

/// How a machine runs in another container system. Made by an engine's file as pure data: `repot command` prints it, the
/// supervisor carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Whose it is.
    pub engine: EngineId,
    /// How the tree gets there.
    pub delivery: Delivery,
    /// Files that are written before `setup`, in the machine's directory; removed with the machine.
    pub files: Vec<HostFile>,
    /// Run once, before the first start, in this order: load the image, create the container. What one of them made before
    /// another failed is undone by `remove`.
    pub setup: Vec<CommandLine>,
    /// Started by the supervisor at each boot, on a new pty as its controlling terminal: in the foreground, with the machine's
    /// console on that terminal unless there is a `console`, until the machine has ended.
    pub start: CommandLine,
    /// The file, one of `files`, that the engine binds as the machine's console: before each start, the supervisor mounts a new
    /// terminal over it. `None`: the console is the terminal of `start`. For runtimes that make it PID 1's controlling terminal,
    /// where repot has not the privilege to free it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<PathBuf>,
    /// How the host's PID of the machine's PID 1 is found.
    pub leader: LeaderProbe,
    /// Whether `start` goes on when the machine reboots, with a new PID 1 (nspawn, LXC). Else it ends and is started again.
    pub restarts_itself: bool,
    /// The exit status by which `start` says that PID 1 wants a restart, where that is not 129: nspawn's 133.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_status: Option<u8>,
    /// Whether the machine stays below the cgroups that `start` is in. Then repot makes some for it, limits it and counts what it
    /// uses by them; else that is the engine's business.
    #[serde(default)]
    pub stays_in_cgroup: bool,
    /// Ends the machine at once, whatever state it is in; run after its PID 1 was killed and `start` goes on, and by the
    /// command that collects what a killed supervisor has left.
    pub kill: Vec<CommandLine>,
    /// Removes everything that `setup` made. Failures mean that it is gone already.
    pub remove: Vec<CommandLine>,
    /// Commands for a person who does it by hand, for `repot command`: attach, log in, stop, with a word on each.
    pub by_hand: Vec<(String, CommandLine)>,
}

/// How the host's PID of the machine's PID 1 is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum LeaderProbe {
    /// The nearest descendant of the started program that is PID 1 of another PID namespace (`NSpid` of proc_pid_status(5)).
    Descendant,
    /// A program that prints the number, alone or as the last word of a line; anything else means "not yet".
    Command {
        /// The program.
        command: CommandLine,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repot_sets_is_not_there_without_it() {
        assert!(Sys::ReadOnlyByRepot.is_read_only());
        assert!(!Sys::ReadOnlyByRepot.without_repot().is_read_only());
        assert!(Sys::ReadOnly.without_repot().is_read_only());
    }

    #[test]
    fn on_the_hosts_network_somebody_binds_the_hosts_file() {
        for (resolver, wanted) in [
            (Resolver::Machine, Resolver::Engine),
            (Resolver::Engine, Resolver::Engine),
            (Resolver::Repot, Resolver::Repot),
        ] {
            let offers = Offers {
                resolver,
                ..Offers::everything()
            };
            let shared = offers.on_hosts_network();
            assert!(shared.shares_network && shared.resolver == wanted);
        }
    }
}
