//! systemd-nspawn, with or without a running systemd on the host.
//!
//! # Source
//! systemd-nspawn(1); `src/nspawn/nspawn.c` of systemd 252 to 257; figures marked M in the project's knowledge base.

use crate::{CgroupLayout, Discovery, Engine, Host, Launch, Result, Usable, names, probe};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, Demand, Demanded, EngineId, HandOver, Keyrings,
    LeaderProbe, Network, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer, Sys,
};
use std::path::PathBuf;

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
    "NET_ADMIN",
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

/// `sh -c UNPROPAGATE sh MACHINE`: removes the directory by which the host could give a running machine further mounts. nspawn
/// does so as it ends, but not when it is killed. Whose machine of that name is running has it mounted.
const UNPROPAGATE: &str = r#"grep -qsF "/systemd/nspawn/propagate/$1 " /proc/[0-9]*/mountinfo || rmdir "/run/systemd/nspawn/propagate/$1""#;

impl Engine for Nspawn {
    fn id(&self) -> &'static str {
        "nspawn"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let found = probe::by_version(
            &["systemd-nspawn", "--version"],
            "apt-get install systemd-container",
        );
        if is_v2_only(&found) && host.cgroups != CgroupLayout::Unified {
            return Discovery {
                version: found.version,
                state: Usable::No {
                    why: "from version 258 on it runs only where the host has cgroup2 alone"
                        .to_owned(),
                    hint: "systemd.unified_cgroup_hierarchy=1 on the kernel's command line gives that; the native runtime needs none of it".to_owned(),
                },
            };
        }
        probe::for_root(found, host, "it works for root only")
    }

    fn offers(&self, host: &Host, found: &Discovery) -> Offers {
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
                CgroupLayout::Unified | CgroupLayout::Hybrid | CgroupLayout::Legacy
                    if !is_v2_only(found) =>
                {
                    vec![CgroupVersion::V2, CgroupVersion::V1Systemd]
                }
                CgroupLayout::Unified | CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                    vec![CgroupVersion::V2]
                }
                CgroupLayout::None => Vec::new(),
            },
            capabilities: host.capabilities_of(CAPABILITIES),
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
            raises_limits: host.has_capability_named("SYS_RESOURCE"),
            // It takes the login ID away if it may (nspawn.c, `reset_audit_loginuid`); what is not set may be set once.
            sets_loginuid: host.has_capability_named("AUDIT_CONTROL") || !host.has_loginuid,
            // Its filter answers ENOSYS to keyctl(2) and add_key(2) (nspawn-seccomp.c).
            keyrings: Keyrings::Unknown,
            sys: Sys::ReadOnly,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: false,
            emulators: host.emulators.clone(),
        }
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let mut start = words(launch).arg("--console=interactive");
        if let Some(signal) = launch.power_off {
            start = start.arg(format!("--kill-signal={signal}"));
        }
        // A program instead of --boot, which would prefer a systemd that is installed beside the tree's init.
        let mut plan = plan(launch, with_program(start, launch, host));
        // With --keep-unit it leaves the restart to its caller (nspawn.c, EXIT_FORCE_RESTART).
        plan.reboot_status = Some(133);
        if launch.power_off.is_some() {
            // Which does not match the shell that was given this command.
            let pattern = format!(
                "[s]ystemd-nspawn .*--machine={} ",
                names::host_name(launch.name.as_str())
            );
            plan.by_hand.push((
                "stop; ^] pressed three times within a second kills instead".to_owned(),
                CommandLine::new(["pkill", "-TERM", "-f", "--", pattern.as_str()]),
            ));
        }
        Ok(plan)
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

    fn run_command(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        // Below its stub init, as few programs know what PID 1 has to do; and in a pipe as they are without it.
        let start = words(launch).arg("--console=autopipe").arg("--as-pid2");
        Ok(plan(launch, with_program(start, launch, host)))
    }
}

/// Where it gets the tree.
fn place(launch: &Launch) -> PathBuf {
    launch.run.join("root")
}

/// The options that do not depend on what is run.
fn words(launch: &Launch) -> CommandLine {
    let mut start = CommandLine::new([
        "systemd-nspawn".to_owned(),
        "--quiet".into(),
        format!("--directory={}", place(launch).display()),
        format!("--machine={}", names::host_name(launch.name.as_str())),
        format!("--hostname={}", names::host_name(&launch.hostname)),
        format!("--uuid={}", launch.uuid),
        // A file of settings of a machine that has the same name is not meant.
        "--settings=no".into(),
        // Where systemd runs on the host too: the machine stays in the supervisor's care and cgroups. Who wants machinectl to
        // know it has the engine of that name.
        "--register=no".into(),
        "--keep-unit".into(),
        // Nothing of the host's goes into the tree by itself.
        "--link-journal=no".into(),
        "--timezone=off".into(),
    ]);
    start = match launch.network {
        Network::None => start.arg("--resolv-conf=off").arg("--private-network"),
        // Read-only, over a file or where there is none, but not where a link leads nowhere (M).
        Network::Host => start.arg("--resolv-conf=bind-host"),
    };
    for bind in &launch.binds {
        let option = if bind.read_only {
            "--bind-ro"
        } else {
            "--bind"
        };
        start = start.arg(format!(
            "{option}={}:{}",
            escaped(&bind.host_path.display().to_string()),
            escaped(&bind.guest_path)
        ));
    }
    for tmpfs in &launch.tmpfs {
        start = start.arg(format!(
            "--tmpfs={}:{}",
            escaped(&tmpfs.guest_path),
            tmpfs.options
        ));
    }
    for (name, value) in &launch.env {
        start = start.arg(format!("--setenv={name}={value}"));
    }
    start
}

fn with_program(start: CommandLine, launch: &Launch, host: &Host) -> CommandLine {
    let start = launch.argv.iter().fold(start, CommandLine::arg);
    // From version 255 on; without --boot, no version looks for it.
    let start = start.env("SYSTEMD_NSPAWN_CHECK_OS_RELEASE", "0");
    // Its own guess goes by the host and by the systemd in the tree: one from 258 on refuses what that comes to on a v1 host,
    // and a tree without any gets v1 on a v2 host, which fails where nspawn runs in a container itself (M).
    match host.cgroups {
        CgroupLayout::None => start,
        CgroupLayout::Unified | CgroupLayout::Hybrid | CgroupLayout::Legacy => start.env(
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY",
            if launch.can_use(CgroupVersion::V2) {
                "1"
            } else {
                "0"
            },
        ),
    }
}

fn plan(launch: &Launch, start: CommandLine) -> HandOver {
    HandOver {
        engine: EngineId("nspawn".to_owned()),
        delivery: Delivery::Overlay { at: place(launch) },
        files: Vec::new(),
        setup: Vec::new(),
        start,
        console: None,
        leader: LeaderProbe::Descendant,
        restarts_itself: false,
        reboot_status: None,
        // Else all machines would share its caller's: with --keep-unit it makes none but two below that (nspawn-cgroup.c).
        stays_in_cgroup: true,
        kill: Vec::new(),
        // Only repot kills it.
        remove: launch
            .is_supervised
            .then(|| {
                let name = names::host_name(launch.name.as_str());
                CommandLine::new(["sh", "-c", UNPROPAGATE, "sh"]).arg(name)
            })
            .into_iter()
            .collect(),
        by_hand: Vec::new(),
    }
}

/// Whether it knows cgroup2 only (NEWS of systemd 258).
fn is_v2_only(found: &Discovery) -> bool {
    let digits = found
        .version
        .as_deref()
        .and_then(|version| version.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|major| major >= 258)
}

/// Colons separate the parts of a bind, and a backslash escapes them (systemd-nspawn(1), `--bind=`).
fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{found, host, launch};

    #[test]
    fn a_machine_is_handed_over_by_one_command() {
        let plan = Nspawn
            .hand_over(&launch(), &host(CgroupLayout::Hybrid), &found("252"))
            .unwrap();
        assert_eq!(
            plan.start.to_string(),
            "SYSTEMD_NSPAWN_CHECK_OS_RELEASE=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet \
             --directory=/run/repot/web/root --machine=web --hostname=web.example \
             --uuid=0123456789abcdef0123456789abcdef --settings=no --register=no --keep-unit \
             --link-journal=no --timezone=off --resolv-conf=off --private-network '--bind-ro=/usr/share/a b:/mnt' \
             --tmpfs=/scratch:size=1m --setenv=TERM=xterm --console=interactive --kill-signal=SIGRTMIN+4 /sbin/init --log-target=console"
        );
        assert_eq!(plan.reboot_status, Some(133));
        let odd = Launch {
            name: "debian_13".parse().unwrap(),
            ..launch()
        };
        let plan = Nspawn
            .hand_over(&odd, &host(CgroupLayout::Hybrid), &found("252"))
            .unwrap();
        // What is removed afterwards is called as the machine was.
        let machine = plan.remove[0].argv.last().unwrap();
        assert!(plan.start.argv.contains(&format!("--machine={machine}")));
        assert_eq!(escaped("/a:b\\c"), "/a\\:b\\\\c");
    }

    #[test]
    fn on_the_hosts_network_it_binds_the_hosts_resolver() {
        let shared = Launch {
            network: Network::Host,
            ..launch()
        };
        let plan = Nspawn.hand_over(&shared, &host(CgroupLayout::Hybrid), &found("252"));
        let text = plan.unwrap().start.to_string();
        assert!(text.contains(" --resolv-conf=bind-host "), "{text}");
        assert!(!text.contains("--private-network"), "{text}");
    }

    #[test]
    fn cgroups_follow_the_init_and_the_version() {
        let old = Launch {
            cgroups: vec![CgroupVersion::V1Systemd],
            ..launch()
        };
        for layout in [CgroupLayout::Unified, CgroupLayout::Hybrid] {
            let plan = Nspawn
                .hand_over(&old, &host(layout), &found("252"))
                .unwrap();
            let wanted = (
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY".to_owned(),
                "0".to_owned(),
            );
            assert!(plan.start.env.contains(&wanted));
        }
        let offers = |layout, version: &str| Nspawn.offers(&host(layout), &found(version)).cgroups;
        let both = [CgroupVersion::V2, CgroupVersion::V1Systemd];
        assert_eq!(offers(CgroupLayout::Unified, "257.9"), both);
        assert_eq!(offers(CgroupLayout::Hybrid, "252"), both);
        assert_eq!(offers(CgroupLayout::Unified, "258~rc1"), both[..1]);
        assert!(offers(CgroupLayout::None, "252").is_empty());
    }

    #[test]
    fn a_command_runs_below_its_stub() {
        let host = host(CgroupLayout::Unified);
        let plan = Nspawn.run_command(&launch(), &host, &found("252")).unwrap();
        let text = plan.start.to_string();
        assert!(text.contains(" --as-pid2 /sbin/init"), "{text}");
        assert!(!text.contains("--kill-signal"), "{text}");
    }
}
