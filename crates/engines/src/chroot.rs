//! chroot(2): a command in a tree, and no more. Nothing becomes PID 1 there, so no init can be booted.
//!
//! The mounts that programs expect are made in a mount namespace of their own, and the command gets a PID namespace, with a shell of
//! the host's as its PID 1, since to PID 1 a signal means nothing: however the command ends, both end with it, and nothing stays
//! mounted or running.
//!
//! # Source
//! chroot(1), unshare(1) (util-linux 2.32 or later for `--kill-child`), mount_namespaces(7).

use crate::{CgroupLayout, Discovery, Engine, Error, Host, Launch, Result, probe};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, EngineId, HandOver, Keyrings, LeaderProbe, Network,
    OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer, Sys,
};

#[derive(Debug)]
pub(crate) struct Chroot;

/// Why no init boots there, and what does it.
const NO_INIT: &str = "an init has to be PID 1, and in a chroot nothing is (`Running in chroot, ignoring request`); `repot boot` \
     without --on or --on nspawn boots it, and `repot run TREE --on chroot COMMAND` runs a command in the tree";

/// `$1` is the host name. What is mounted beneath the root directory `$2`, before the rest is run there. Nothing is created by following a link of the
/// tree's: mkdir(1) makes the last component only, and mounts are seen here alone.
const SCRIPT: &str = r#"echo "$1" >/proc/sys/kernel/hostname; cd "$2"; shift 2
for dir in proc sys dev run; do [ -d $dir ] || mkdir $dir; done
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o nosuid,mode=755,size=4m dev dev
for node in null zero full random urandom tty ptmx; do : >dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount --bind /dev/pts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm dev/shm
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o nosuid,nodev,mode=755 run run
"#;

/// The host's network needs the host's resolver, over a file. A link would lead out of the tree, so that is left alone, and told of.
const RESOLVER: &str = r#"if [ -L etc/resolv.conf ]; then echo "etc/resolv.conf is a link: the host's is not bound over it" >&2
elif [ -f /etc/resolv.conf ] && [ -d etc ] && [ ! -L etc ]; then
    [ -e etc/resolv.conf ] || : >etc/resolv.conf
    mount -o bind,ro /etc/resolv.conf etc/resolv.conf
fi
"#;

impl Chroot {
    fn cannot(&self, why: impl Into<String>) -> Error {
        Error::CannotHost {
            engine: EngineId(self.id().to_owned()),
            why: why.into(),
        }
    }
}

impl Engine for Chroot {
    fn id(&self) -> &'static str {
        "chroot"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let found = probe::by_version(&["unshare", "--version"], "apt-get install util-linux");
        probe::for_root(found, host, "chroot(2) and its mounts are root's")
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            console: OfferedTerminal {
                device: String::new(),
                login_name: String::new(),
            },
            terminals: Vec::new(),
            tty1_is_console: false,
            makes_missing_terminals: false,
            serves_silent_console: false,
            is_pid1: false,
            program: ProgramOffer::Any,
            container: None,
            takes_env: true,
            cgroups: match host.cgroups {
                CgroupLayout::None => Vec::new(),
                CgroupLayout::Unified | CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                    // Those of the host, if somebody mounts them.
                    vec![CgroupVersion::V2]
                }
            },
            capabilities: host.capabilities_but(&[]),
            stop: StopOffer::Asks,
            mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: Vec::new(),
            ids: u32::MAX,
            raises_limits: host.has_capability_named("SYS_RESOURCE"),
            sets_loginuid: host.has_capability_named("AUDIT_CONTROL"),
            keyrings: Keyrings::Given,
            sys: Sys::ReadOnly,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: false,
            emulators: host.emulators.clone(),
        }
    }

    fn hand_over(&self, _launch: &Launch, _host: &Host, _found: &Discovery) -> Result<HandOver> {
        Err(self.cannot(NO_INIT))
    }

    fn run_command(&self, launch: &Launch, _host: &Host, _found: &Discovery) -> Result<HandOver> {
        if !launch.binds.is_empty() || !launch.tmpfs.is_empty() {
            // Their places would have to be looked up, and made, in a tree whose links lead out of it.
            return Err(
                self.cannot("--bind and --tmpfs need a container; `repot run` without --on is one")
            );
        }
        let at = launch.run.join("root");
        let mut words = vec![
            "unshare".to_owned(),
            "--mount".into(),
            "--propagation=private".into(),
            "--uts".into(),
            "--pid".into(),
            "--fork".into(),
            "--kill-child".into(),
        ];
        let resolver = match launch.network {
            Network::Host => RESOLVER,
            Network::None => {
                words.push("--net".into());
                ""
            }
        };
        let env: String = launch
            .env
            .iter()
            .map(|(name, value)| {
                format!(" {}", repot_model::shell_word(&format!("{name}={value}")))
            })
            .collect();
        words.extend(["sh".to_owned(), "-ec".into()]);
        words.push(format!(
            "{SCRIPT}{resolver}env -i{env} chroot . \"$@\" || exit $?"
        ));
        words.extend(["sh".into(), launch.hostname.clone()]);
        words.push(at.display().to_string());
        words.extend(launch.argv.iter().cloned());
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Overlay { at },
            files: Vec::new(),
            setup: Vec::new(),
            start: CommandLine::new(words),
            console: None,
            leader: LeaderProbe::Descendant,
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: true,
            kill: Vec::new(),
            remove: Vec::new(),
            by_hand: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{found, host, launch};

    fn command() -> Launch {
        Launch {
            argv: vec!["/bin/sh".into(), "-c".into(), "echo $0".into()],
            binds: Vec::new(),
            tmpfs: Vec::new(),
            ..launch()
        }
    }

    #[test]
    fn an_init_is_refused_with_what_boots_it() {
        let refused = Chroot
            .hand_over(&launch(), &host(CgroupLayout::Unified), &found("2.38"))
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with("chroot cannot run this: an init has to be PID 1"));
        assert!(refused.contains("--on nspawn"), "{refused}");
        let offers = Chroot.offers(&host(CgroupLayout::Unified), &found("2.38"));
        assert!(!offers.is_pid1 && offers.console.device.is_empty());
    }

    #[test]
    fn a_command_gets_mounts_that_end_with_it() {
        let host = host(CgroupLayout::Hybrid);
        let plan = Chroot
            .run_command(&command(), &host, &found("2.38"))
            .unwrap();
        let argv = &plan.start.argv;
        assert_eq!(
            argv[..10],
            [
                "unshare",
                "--mount",
                "--propagation=private",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--net",
                "sh",
                "-ec"
            ]
        );
        assert!(argv[10].contains("cd \"$2\"; shift 2\n"));
        assert!(
            argv[10].ends_with("\nenv -i TERM=xterm chroot . \"$@\" || exit $?"),
            "{}",
            argv[10]
        );
        assert!(!argv[10].contains("resolv.conf"));
        assert_eq!(
            argv[11..],
            [
                "sh",
                "web.example",
                "/run/repot/web/root",
                "/bin/sh",
                "-c",
                "echo $0"
            ]
        );
        let shared = Launch {
            network: Network::Host,
            env: vec![("A".into(), "it's $HOME".into())],
            ..command()
        };
        let plan = Chroot.run_command(&shared, &host, &found("2.38")).unwrap();
        assert!(!plan.start.argv.contains(&"--net".to_owned()));
        let script = &plan.start.argv[9];
        assert!(script.contains("/etc/resolv.conf"), "{script}");
        assert!(
            script.contains(r"env -i 'A=it'\''s $HOME' chroot"),
            "{script}"
        );
    }

    #[test]
    fn binds_are_refused() {
        let refused = Chroot.run_command(&launch(), &host(CgroupLayout::Hybrid), &found("2.38"));
        assert!(refused.unwrap_err().to_string().contains("--bind"));
    }
}
