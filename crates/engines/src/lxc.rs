//! LXC's own tools: `lxc-start` in the foreground, with a configuration of repot's in the machine's directory.
//!
//! # Source
//! lxc.container.conf(5), lxc-start(1), lxc-stop(1); `src/lxc/{conf,start,confile}.c` of liblxc 5.0.2; the rest was measured.

mod config;

use crate::{CgroupLayout, Discovery, Engine, Host, Launch, Result, probe};
use config::Config;
use repot_model::{
    CgroupVersion, CommandLine, Delivery, Demand, Demanded, EngineId, HandOver, HostFile, Keyrings,
    LeaderProbe, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer, Sys,
};

#[derive(Debug)]
pub(crate) struct Lxc;

/// What it is told to drop: the list of `/usr/share/lxc/config/common.conf`.
const DROPPED: &[&str] = &[
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_TIME",
];

/// Terminals that there always are. A tree that names a higher one gets all up to that.
const TERMINALS: u32 = 6;

/// The system calls that LXC keeps from privileged containers: `/usr/share/lxc/config/common.seccomp`, written out since not
/// every host has that file.
const SECCOMP: &str = "2
denylist
reject_force_umount
[all]
kexec_load errno 1
open_by_handle_at errno 1
init_module errno 1
finit_module errno 1
delete_module errno 1
";

impl Engine for Lxc {
    fn id(&self) -> &'static str {
        "lxc"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let found = probe::by_version(&["lxc-start", "--version"], "apt-get install lxc");
        probe::for_root(
            found,
            host,
            "LXC without root needs IDs and networks set up by root",
        )
    }

    fn offers(&self, host: &Host, found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            // A bind mount, so that login sees its name (M).
            console: OfferedTerminal {
                device: "console".into(),
                login_name: "console".into(),
            },
            terminals: (1..=TERMINALS)
                .map(|number| format!("tty{number}"))
                .collect(),
            tty1_is_console: false,
            makes_missing_terminals: false,
            serves_silent_console: true,
            is_pid1: true,
            program: ProgramOffer::Any,
            container: Some("lxc".into()),
            takes_env: true,
            cgroups: match host.cgroups {
                CgroupLayout::Unified => vec![CgroupVersion::V2],
                CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                    vec![CgroupVersion::V2, CgroupVersion::V1Systemd]
                }
                CgroupLayout::None => Vec::new(),
            },
            capabilities: host.capabilities_but(DROPPED),
            // From the file: what `lxc-start -s` is given, lxc-stop does not know (M).
            stop: StopOffer::AnySignal,
            mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: match makes_mount_points(found) {
                true => Vec::new(),
                false => vec![Demand {
                    what: Demanded::MountPoints,
                    message: "Failed to mount \"proc\"".into(),
                    source: "liblxc src/lxc/conf.c, lxc_mount_auto_mounts()".into(),
                }],
            },
            ids: u32::MAX,
            raises_limits: host.has_capability_named("SYS_RESOURCE"),
            sets_loginuid: host.has_capability_named("AUDIT_CONTROL") || !host.has_loginuid,
            keyrings: Keyrings::Given,
            sys: Sys::ReadOnly,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: false,
            emulators: host.emulators.clone(),
        }
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let folder = launch.dir.join("lxc");
        let at = launch.run.join("root");
        let name = launch.name.to_string();
        let seccomp = folder.join("seccomp");
        let config = Config::of(launch, host)
            .set("lxc.rootfs.path", format!("dir:{}", at.display()))
            .set("lxc.seccomp.profile", seccomp.display())
            .text()?;
        // Below the directory that all of LXC's programs are told by -P.
        let tool = |program: &str| {
            CommandLine::new([
                program.to_owned(),
                "-P".into(),
                folder.display().to_string(),
                "-n".into(),
                name.clone(),
            ])
        };
        let log = folder.join("log").display().to_string();
        let mut by_hand = vec![
            (
                "a terminal of the machine's: tty1".to_owned(),
                tool("lxc-console").arg("-t").arg("1"),
            ),
            ("a shell".to_owned(), tool("lxc-attach").arg("--clear-env")),
            ("how it is".to_owned(), tool("lxc-info")),
        ];
        let stop = match (launch.power_off, &launch.power_off_program) {
            // No signal asks this init, and what LXC would send by itself is taken for another wish, or for none.
            (None, Some(argv)) => argv.iter().fold(
                tool("lxc-attach").arg("--clear-env").arg("--"),
                |command, word| command.arg(word),
            ),
            (None, None) => tool("lxc-stop").arg("-k"),
            (Some(_), _) => tool("lxc-stop")
                .arg("-t")
                .arg(launch.patience_s.to_string()),
        };
        by_hand.push(("stop".to_owned(), stop));
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Overlay { at },
            files: vec![
                HostFile {
                    path: folder.join(&name).join("config"),
                    mode: 0o600,
                    text: config,
                },
                HostFile {
                    path: seccomp,
                    mode: 0o600,
                    text: SECCOMP.to_owned(),
                },
            ],
            setup: Vec::new(),
            start: tool("lxc-start")
                .arg("-F")
                .arg("--logpriority=INFO")
                .arg(format!("--logfile={log}")),
            console: None,
            leader: LeaderProbe::Descendant,
            restarts_itself: true,
            reboot_status: None,
            // By the lines of the configuration.
            stays_in_cgroup: launch.cgroup.is_some(),
            kill: vec![tool("lxc-stop").arg("-k")],
            remove: Vec::new(),
            by_hand,
        })
    }

    fn unaided(&self, launch: &Launch, host: &Host, found: &Discovery) -> Option<HandOver> {
        let mut plan = self.hand_over(launch, host, found).ok()?;
        // What lxc-create writes for a root file system that is there already, with the settings that all its templates share.
        plan.files.first_mut()?.text = format!(
            "lxc.include = /usr/share/lxc/config/common.conf\nlxc.rootfs.path = dir:{}\nlxc.uts.name = {}\nlxc.net.0.type = empty\n",
            launch.run.join("root").display(),
            launch.name
        );
        Some(plan)
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        let place = host.var("LXC_PATH").unwrap_or("/var/lib/lxc");
        // Columns of lxc-ls are padded with blanks, and it has no other form.
        let script = r#"for name in $(lxc-ls -1 -P "$1"); do printf '%s\t%s\n' "$name" "$(lxc-info -P "$1" -n "$name" -sH)"; done"#;
        Some(CommandLine::new(["sh", "-c", script, "sh", place]))
    }
}

/// Whether it makes `/proc` and `/sys` itself where the tree has none.
///
/// # Source
/// liblxc c7f11d62, "mkdir -p /proc /sys on container startup", in 4.0.7; 5.0.2 makes `/dev` as well (M).
fn makes_mount_points(found: &Discovery) -> bool {
    let numbers = found.version.as_deref().unwrap_or_default().split('.');
    let numbers: Vec<u32> = numbers.map_while(|part| part.parse().ok()).collect();
    numbers >= vec![4, 0, 7]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::tests::{found, host, launch};

    fn config(launch: &Launch, layout: CgroupLayout) -> Result<String> {
        let plan = Lxc.hand_over(launch, &host(layout), &found("5.0.2"))?;
        Ok(plan.files[0].text.clone())
    }

    #[test]
    fn a_machine_is_handed_over_by_a_file_and_a_command() {
        let mut launch = launch();
        launch.binds[0].host_path = "/proc".into();
        let plan = Lxc
            .hand_over(&launch, &host(CgroupLayout::Hybrid), &found("5.0.2"))
            .unwrap();
        assert_eq!(
            plan.start.to_string(),
            "lxc-start -P /var/lib/repot/machines/web/lxc -n web -F --logpriority=INFO \
             --logfile=/var/lib/repot/machines/web/lxc/log"
        );
        let by_hand: Vec<String> = plan
            .by_hand
            .iter()
            .map(|(_, command)| {
                command
                    .to_string()
                    .replace(" -P /var/lib/repot/machines/web/lxc -n web", "")
            })
            .collect();
        assert_eq!(
            by_hand,
            [
                "lxc-console -t 1",
                "lxc-attach --clear-env",
                "lxc-info",
                "lxc-stop -t 90"
            ]
        );
        let paths: Vec<String> = plan
            .files
            .iter()
            .map(|file| file.path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/var/lib/repot/machines/web/lxc/web/config",
                "/var/lib/repot/machines/web/lxc/seccomp"
            ]
        );
        let devices: String = config::DEVICES
            .iter()
            .map(|device| format!("lxc.cgroup.devices.allow = {device}\n"))
            .collect();
        assert_eq!(
            plan.files[0].text,
            format!(
                "# Written by repot at each start.
lxc.uts.name = web.example
lxc.tty.dir =
lxc.tty.max = 8
lxc.pty.max = 1024
lxc.cap.drop = mac_admin mac_override sys_module sys_rawio sys_time
lxc.mount.auto = proc:mixed sys:mixed
lxc.net.0.type = empty
lxc.init.cmd = /sbin/init --log-target=console
lxc.mount.entry = cgroup2 sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0
lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0
lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0
lxc.mount.entry = tmpfs scratch tmpfs size=1m,create=dir 0 0
lxc.mount.entry = /proc mnt none bind,ro,create=dir 0 0
lxc.signal.halt = SIGRTMIN+4
lxc.cgroup.dir.container = repot/web/payload
lxc.cgroup.dir.monitor = repot/web/monitor
lxc.cgroup.dir.monitor.pivot = repot/web/pivot
lxc.cgroup.devices.deny = a
{devices}lxc.cgroup.memory.limit_in_bytes = 67108864
lxc.cgroup.cpu.cfs_period_us = 100000
lxc.cgroup.cpu.cfs_quota_us = 150000
lxc.environment = TERM=xterm
lxc.rootfs.path = dir:/run/repot/web/root
lxc.seccomp.profile = /var/lib/repot/machines/web/lxc/seccomp
"
            )
        );
    }

    #[test]
    fn on_the_hosts_network_it_binds_the_hosts_resolver() {
        let shared = Launch {
            network: repot_model::Network::Host,
            ..launch()
        };
        let text = config(&shared, CgroupLayout::Hybrid).unwrap();
        let bind = "lxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,ro,optional,create=file 0 0\n";
        assert!(
            text.contains("lxc.net.0.type = none\n") && text.contains(bind),
            "{text}"
        );
    }

    #[test]
    fn cgroups_are_what_the_init_can_use() {
        let old = Launch {
            cgroups: vec![CgroupVersion::V1Systemd],
            ..launch()
        };
        let text = config(&old, CgroupLayout::Hybrid).unwrap();
        assert!(
            text.contains(
                "cgroup sys/fs/cgroup/systemd cgroup rw,nosuid,nodev,noexec,relatime,none,name=systemd,create=dir 0 0\n"
            ),
            "{text}"
        );
        // There, the named hierarchy cannot be had, which the offers say.
        let text = config(&old, CgroupLayout::Unified).unwrap();
        assert!(text.contains("= cgroup2 sys/fs/cgroup"), "{text}");
        assert!(
            text.contains("lxc.cgroup2.cpu.max = 150000 100000\n"),
            "{text}"
        );
        let offers = |layout| Lxc.offers(&host(layout), &found("5.0.2")).cgroups;
        assert_eq!(offers(CgroupLayout::Unified), [CgroupVersion::V2]);
        assert_eq!(
            offers(CgroupLayout::Hybrid),
            [CgroupVersion::V2, CgroupVersion::V1Systemd]
        );
        let none = config(&old, CgroupLayout::None).unwrap();
        assert!(!none.contains("sys/fs/cgroup"), "{none}");
    }

    #[test]
    fn what_a_line_cannot_hold_is_refused() {
        let of = |argv: &[&str]| {
            let argv = argv.iter().map(|word| (*word).to_owned()).collect();
            let text = config(&Launch { argv, ..launch() }, CgroupLayout::Hybrid)?;
            let line = text.lines().find(|line| line.starts_with("lxc.init.cmd"));
            Ok::<_, Error>(line.unwrap().to_owned())
        };
        assert_eq!(
            of(&["/init", "a b", "it's all", "x\"y"]).unwrap(),
            "lxc.init.cmd = /init \"a b\" \"it's all\" x\"y"
        );
        for argv in [
            &["/an init", "x"][..],
            &["/init", ""],
            &["/init", "both ' and \""],
            &["/init", "a\nlxc.hook.start-host=/bin/sh"],
        ] {
            assert!(of(argv).is_err(), "{argv:?}");
        }
        let env = vec![("A".to_owned(), "b\nlxc.cap.keep = all".to_owned())];
        let refused = config(&Launch { env, ..launch() }, CgroupLayout::Hybrid).unwrap_err();
        assert!(refused.to_string().contains("line break"), "{refused}");
    }

    #[test]
    fn an_init_that_no_signal_asks_is_asked_by_its_own_program() {
        let silent = Launch {
            power_off: None,
            ..launch()
        };
        let plan = Lxc
            .hand_over(&silent, &host(CgroupLayout::Hybrid), &found("5.0.2"))
            .unwrap();
        let (_, stop) = plan.by_hand.last().unwrap();
        assert!(stop.to_string().ends_with("-- /sbin/poweroff -f"), "{stop}");
        assert!(!plan.files[0].text.contains("lxc.signal"));
    }

    #[test]
    fn offers_follow_the_host() {
        let mut host = host(CgroupLayout::Hybrid);
        let offers = Lxc.offers(&host, &found("5.0.2"));
        assert!(offers.raises_limits && offers.sets_loginuid);
        assert!(!offers.capabilities.contains(&"SYS_TIME".to_owned()));
        host.capability_bound = 0;
        let offers = Lxc.offers(&host, &found("5.0.2"));
        // What nobody has set yet may be set once.
        assert!(!offers.raises_limits && offers.sets_loginuid);
        host.has_loginuid = true;
        assert!(!Lxc.offers(&host, &found("5.0.2")).sets_loginuid);
        assert!(offers.capabilities.is_empty() && offers.demands.is_empty());
        assert_eq!(Lxc.offers(&host, &found("4.0.6")).demands.len(), 1);
        host.has_apparmor = true;
        let plan = Lxc.hand_over(&launch(), &host, &found("5.0.2")).unwrap();
        assert!(
            plan.files[0]
                .text
                .contains("lxc.apparmor.allow_nesting = 1\n")
        );
    }
}
