//! systemd-nspawn, with or without a running systemd on the host.
//!
//! # Source
//! systemd-nspawn(1); `src/nspawn/nspawn.c` of systemd 252 to 257; figures marked M in the project's knowledge base.

use crate::{CgroupLayout, Discovery, Engine, Host, Launch, Result, probe};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, Demand, Demanded, EngineId, HandOver, LeaderProbe,
    Network, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer,
};

#[derive(Debug)]
pub(crate) struct Nspawn;

/// What it keeps for a machine with a network of its own (nspawn.c, `arg_caps_retain` and CAP_NET_ADMIN with `--private-network`).
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
];

impl Engine for Nspawn {
    fn id(&self) -> &'static str {
        "nspawn"
    }

    fn discover(&self, _host: &Host) -> Discovery {
        probe::by_version(
            &["systemd-nspawn", "--version"],
            "apt-get install systemd-container",
        )
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            // /dev/console is a link to the pty, so that is what login sees (M).
            console: OfferedTerminal {
                device: "console".into(),
                login_name: "pts/0".into(),
            },
            terminals: Vec::new(),
            tty1_is_console: false,
            makes_missing_terminals: false,
            serves_silent_console: true,
            is_pid1: true,
            program: ProgramOffer::Any,
            container: Some("systemd-nspawn".into()),
            takes_env: true,
            cgroups: match host.cgroups {
                CgroupLayout::Unified => vec![CgroupVersion::V2],
                CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                    vec![CgroupVersion::V2, CgroupVersion::V1Systemd]
                }
                CgroupLayout::None => Vec::new(),
            },
            capabilities: CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
            stop: StopOffer::AnySignal,
            mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: vec![
                Demand {
                    what: Demanded::OsRelease,
                    message: "Directory doesn't look like an OS root directory (os-release file is missing). Refusing.".into(),
                    source: "systemd src/nspawn/nspawn.c, path_is_os_tree() with --boot".into(),
                },
                Demand {
                    what: Demanded::Usr,
                    message: "Directory doesn't look like it has an OS tree (/usr/ directory is missing). Refusing.".into(),
                    source: "systemd src/nspawn/nspawn.c, path_is_os_tree()".into(),
                },
            ],
            ids: 65536,
            // CAP_SYS_RESOURCE is CAP_SYS_RESOURCE (capability.h): 24.
            raises_limits: host.has_capability(24),
            sets_loginuid: true,
            // Its filter answers ENOSYS to keyctl(2) and add_key(2) (nspawn-seccomp.c).
            has_keyring: true,
            sys_is_read_only: true,
            may_mount: true,
            interfaces: Vec::new(),
            resolver: Resolver::Machine,
            unprivileged: false,
        }
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let at = launch.run.join("root");
        let mut start = vec![
            "systemd-nspawn".to_owned(),
            "--quiet".into(),
            format!("--directory={}", at.display()),
            format!("--machine={}", launch.name),
            format!("--hostname={}", launch.hostname),
            format!("--uuid={}", launch.uuid),
            "--console=interactive".into(),
        ];
        // Without machined there is nobody to register with; and the machine stays in the supervisor's care.
        start.extend(["--register=no", "--keep-unit"].map(str::to_owned));
        if launch.network == Network::None {
            start.push("--private-network".into());
        } else {
            start.push("--resolv-conf=off".into());
        }
        if let Some(signal) = launch.power_off {
            start.push(format!("--kill-signal={signal}"));
        }
        for bind in &launch.binds {
            let option = if bind.read_only {
                "--bind-ro"
            } else {
                "--bind"
            };
            start.push(format!(
                "{option}={}:{}",
                escaped(&bind.host_path.display().to_string()),
                escaped(&bind.guest_path)
            ));
        }
        for tmpfs in &launch.tmpfs {
            start.push(format!(
                "--tmpfs={}:{}",
                escaped(&tmpfs.guest_path),
                tmpfs.options
            ));
        }
        for (name, value) in &launch.env {
            start.push(format!("--setenv={name}={value}"));
        }
        // A program instead of --boot, which would prefer a systemd that is installed beside the tree's init.
        start.extend(launch.argv.iter().cloned());
        let mut start = CommandLine::new(start);
        // Its own guess goes by the host, and a systemd from 258 on refuses what that comes to on a v1 host (M).
        if host.cgroups != CgroupLayout::Unified {
            let unified = launch.can_use(CgroupVersion::V2);
            start = start.env(
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY",
                if unified { "1" } else { "0" },
            );
        }
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Overlay { at },
            files: Vec::new(),
            setup: Vec::new(),
            start,
            leader: LeaderProbe::Descendant,
            // With --keep-unit it leaves the restart to its caller (nspawn.c, EXIT_FORCE_RESTART).
            restarts_itself: false,
            reboot_status: Some(133),
            // Else all machines would share its caller's: with --keep-unit it makes none but two below that (nspawn-cgroup.c).
            stays_in_cgroup: true,
            kill: Vec::new(),
            remove: Vec::new(),
            by_hand: Vec::new(),
        })
    }

    fn unaided(&self, launch: &Launch, host: &Host, found: &Discovery) -> Option<HandOver> {
        let plan = self.hand_over(launch, host, found).ok()?;
        let at = launch.run.join("root");
        let mut start = vec![
            "systemd-nspawn".to_owned(),
            "--boot".into(),
            format!("--directory={}", at.display()),
        ];
        // Without these it does not start where there is no systemd.
        if !host.has_systemd {
            start.extend(["--register=no", "--keep-unit"].map(str::to_owned));
        }
        Some(HandOver {
            start: CommandLine::new(start),
            ..plan
        })
    }
}

/// Colons separate the parts of a bind, and a backslash escapes them (systemd-nspawn(1), `--bind=`).
fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}
