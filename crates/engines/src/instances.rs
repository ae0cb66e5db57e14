//! What LXD and Incus have in common, which is nearly everything: Incus began as a copy of LXD 5.16.
//!
//! The tree becomes an image, and a container is made of that, unprivileged. Both always run `/sbin/init` and choose the signals
//! by a guess; `raw.lxc`, lines for liblxc that come behind their own, says better (lxc.container.conf(5)).
//!
//! # Source
//! LXD 5.0 documentation, "Instance configuration" and "REST API"; lxd `driver_lxc.go`, `initLXC`; the rest was measured with
//! LXD 5.0.2.

mod raw;

use crate::probe::{Answer, ask, first_line};
use crate::{CgroupLayout, Discovery, Error, Host, Launch, Result, Usable};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, Demand, Demanded, EngineId, HandOver, ImageFormat,
    Keyrings, LeaderProbe, Network, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer,
    Sys,
};
use serde_json::Value;

/// One of both.
#[derive(Debug)]
pub(crate) struct Flavour {
    /// As an engine of repot's.
    pub(crate) id: &'static str,
    /// Its client program.
    pub(crate) client: &'static str,
    /// The variable that says where its daemon's socket is.
    pub(crate) dir: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
    /// The command that gives it a storage pool.
    pub(crate) init: &'static str,
}

/// `sh -c START sh CLIENT INSTANCE`. The client is connected to the console only some time after the start, so what was said
/// until then, maybe all that will ever be said, is shown from the log: the daemon runs `forkconsole` once it is connected.
/// The client's console ends when the machine does, and also when it reboots, which the daemon sees to; then the console is
/// another one. What it says at the end (`file already closed`) is no failure.
///
/// For some time after a machine was killed, the daemon calls it busy, or running still.
const START: &str = r#"name=${2#local:}
missed() {
    try=0
    until pgrep -f "forkconsole $name " >/dev/null || [ $try = 150 ]; do
        try=$((try + 1))
        sleep 0.2
    done
    sleep 0.3
    # LXD puts a title between empty lines before it.
    "$1" console "$2" --show-log | sed '1{/^$/{N;/^\nConsole log:$/{N;d;};};}'
}
try=0
until said=$("$1" start "$2" 2>&1); do
    try=$((try + 1))
    case $said in *" is busy "*|*" is already running"*) [ $try -lt 80 ];; *) false;; esac || { echo "$said" >&2; exit 1; }
    sleep 0.5
done
while :; do
    missed "$@" 2>/dev/null &
    "$1" console "$2" 2>/dev/null
    kill $! 2>/dev/null
    wait
    for try in 1 2 3 4 5; do
        "$1" query "local:/1.0/instances/$name/state" 2>/dev/null | grep -q '"pid": [1-9]' && break
        [ $try = 5 ] && exit 0
        sleep 0.2
    done
done"#;

/// `sh -c LEADER sh CLIENT PATH`.
const LEADER: &str = r#""$1" query "$2" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'"#;

/// `sh -c STOP sh CLIENT INSTANCE OWNER`: does nothing to an instance of that name that somebody else has made.
const STOP: &str = r#"[ "$("$1" config get "$2" user.repot)" = "$3" ] && "$1" stop --force "$2""#;

/// `sh -c DELETE sh CLIENT INSTANCE OWNER`. For some seconds after a start that failed, the daemon calls the instance busy.
const DELETE: &str = r#"for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ "$("$1" config get "$2" user.repot)" = "$3" ] || exit
    "$1" delete --force "$2" && exit
    sleep 0.5
done
exit 1"#;

impl Flavour {
    /// Asks the daemon: client, daemon, and what a container needs there.
    pub(crate) fn discover(&self, host: &Host) -> Discovery {
        let env: Vec<(&str, &str)> = host
            .var(self.dir)
            .map(|dir| (self.dir, dir))
            .into_iter()
            .collect();
        let query = |path: &str| ask(&[self.client, "query", &format!("local:{path}")], &env);
        let Some(server) = query("/1.0") else {
            return Discovery {
                version: None,
                state: Usable::Missing {
                    hint: self.install.to_owned(),
                },
            };
        };
        let version = document(&server).and_then(|found| {
            Some(
                found
                    .pointer("/environment/server_version")?
                    .as_str()?
                    .to_owned(),
            )
        });
        let no = |why: String, hint: String| Discovery {
            version: version.clone(),
            state: Usable::No { why, hint },
        };
        if !server.ok {
            return no(
                format!("its daemon does not answer: {}", complaint(&server.stderr)),
                format!(
                    "start it, or say by {} where its socket is; only root and the members of its group may use it",
                    self.dir
                ),
            );
        }
        // Without a disk for its root, no container can be made.
        let profile = query("/1.0/profiles/default");
        let has_root = profile.as_ref().and_then(document).is_some_and(|profile| {
            let devices = profile.get("devices").and_then(Value::as_object);
            let mut devices = devices.into_iter().flatten();
            devices.any(|(_, device)| device.get("path").and_then(Value::as_str) == Some("/"))
        });
        if !has_root {
            return no(
                "its default profile has no root disk: it was not set up yet".to_owned(),
                format!("`{}` does that", self.init),
            );
        }
        Discovery {
            version,
            state: Usable::Yes,
        }
    }

    pub(crate) fn offers(&self, host: &Host) -> Offers {
        Offers {
            engine: EngineId(self.id.to_owned()),
            // A bind mount, so that login sees its name (M).
            console: OfferedTerminal {
                device: "console".into(),
                login_name: "console".into(),
            },
            terminals: (1..=raw::TERMINALS)
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
            // All of those of a user namespace of its own (user_namespaces(7), "Capabilities").
            capabilities: Host {
                capability_bound: u64::MAX,
                ..host.clone()
            }
            .capabilities_but(&[]),
            stop: StopOffer::AnySignal,
            mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: vec![Demand {
                what: Demanded::MountPoints,
                message: "Failed to mount \"proc\"".into(),
                source: "liblxc src/lxc/conf.c, lxc_mount_auto_mounts()".into(),
            }],
            ids: 65536,
            raises_limits: false,
            // In a user namespace pam_loginuid ignores the failure (pam_loginuid.c, `set_loginuid`).
            sets_loginuid: true,
            keyrings: Keyrings::Given,
            sys: Sys::ReadOnlyByRepot,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: true,
            emulators: host.emulators.clone(),
        }
    }

    pub(crate) fn listing(&self, host: &Host) -> CommandLine {
        let words = [self.client, "list", "--format=csv", "--columns=ns"];
        self.located(CommandLine::new(words), host)
    }

    pub(crate) fn hand_over(&self, launch: &Launch, host: &Host) -> Result<HandOver> {
        let name = instance_name(&launch.engine_name());
        let instance = format!("local:{name}");
        let file = launch.dir.join(format!("{}.tar", self.id));
        // Whose it is: a machine of that name, in that directory of repot's.
        let owner = launch.dir.display().to_string();
        let client = |words: &[&str]| {
            let words = std::iter::once(self.client).chain(words.iter().copied());
            self.located(CommandLine::new(words.map(str::to_owned)), host)
        };
        let script = |script: &str, words: &[&str]| {
            let words = ["sh", "-c", script, "sh", self.client]
                .into_iter()
                .chain(words.iter().copied());
            self.located(CommandLine::new(words.map(str::to_owned)), host)
        };
        let file_name = file.display().to_string();
        let mut init = client(&["init", &instance, &instance]);
        for setting in self.settings(launch, host, &owner)? {
            init = init.arg("-c").arg(setting);
        }
        let mut setup = vec![
            client(&["image", "import", &file_name, "local:", "--alias", &name]),
            init,
        ];
        if launch.network == Network::None {
            // Instead of what the default profile may have under the name that everybody uses.
            setup.push(client(&[
                "config", "device", "add", &instance, "eth0", "none",
            ]));
        }
        setup.extend(binds(launch, &instance).iter().map(|words| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            client(&words)
        }));
        // The container has a copy of it.
        setup.push(client(&["image", "delete", &instance]));
        Ok(HandOver {
            engine: EngineId(self.id.to_owned()),
            delivery: Delivery::Image {
                format: ImageFormat::LxdUnified,
                file,
            },
            files: Vec::new(),
            setup,
            start: match launch.is_supervised {
                true => script(START, &[&instance]),
                false => client(&["start", "--console", &instance]),
            },
            console: None,
            leader: LeaderProbe::Command {
                command: script(LEADER, &[&format!("local:/1.0/instances/{name}/state")]),
            },
            restarts_itself: true,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: vec![script(STOP, &[&instance, &owner])],
            remove: match launch.is_supervised {
                true => vec![
                    script(DELETE, &[&instance, &owner]),
                    client(&["image", "delete", &instance]),
                ],
                false => vec![client(&["delete", "--force", &instance])],
            },
            by_hand: vec![
                ("start it".into(), client(&["start", &instance])),
                (
                    "its console; ^A q leaves it".into(),
                    client(&["console", &instance]),
                ),
                (
                    "a shell".into(),
                    client(&["exec", &instance, "--", "/bin/sh"]),
                ),
                ("stop".into(), client(&["stop", &instance])),
            ],
        })
    }

    /// With what says where the daemon is.
    fn located(&self, command: CommandLine, host: &Host) -> CommandLine {
        match host.var(self.dir) {
            Some(dir) => command.env(self.dir, dir),
            None => command,
        }
    }

    fn settings(&self, launch: &Launch, host: &Host, owner: &str) -> Result<Vec<String>> {
        let refuse = |why: String| Error::CannotHost {
            engine: EngineId(self.id.to_owned()),
            why,
        };
        if launch.network == Network::Host {
            return Err(refuse(
                "a container of it cannot share the host's network".to_owned(),
            ));
        }
        let raw = raw::lines(launch, host).map_err(refuse)?;
        let mut settings = vec![
            format!("user.repot={owner}"),
            // Repot starts it.
            "boot.autostart=false".to_owned(),
            // Where AppArmor confines it, systemd's sandboxed units could not mount without (canonical/lxd: "nesting").
            "security.nesting=true".to_owned(),
            format!("raw.lxc={raw}"),
        ];
        for (name, value) in &launch.env {
            // Set by liblxc itself.
            if name != "container" {
                settings.push(format!("environment.{name}={value}"));
            }
        }
        let limits = &launch.limits;
        if let Some(bytes) = limits.memory_bytes {
            settings.push(format!("limits.memory={bytes}B"));
        }
        if let Some(milli) = limits.cpus_milli {
            // Of 100 ms; a percentage would be a share that counts only while others want the processors too.
            settings.push(format!(
                "limits.cpu.allowance={}ms/100ms",
                (milli / 10).max(1)
            ));
        }
        if let Some(pids) = limits.pids {
            settings.push(format!("limits.processes={pids}"));
        }
        if limits.io_weight.is_some() {
            return Err(refuse(
                "it knows no weight of I/O that repot could set".to_owned(),
            ));
        }
        Ok(settings)
    }
}

/// Binds as disks, with their owners as they are on the host.
fn binds(launch: &Launch, instance: &str) -> Vec<Vec<String>> {
    let disk = |(number, bind): (usize, &repot_model::BindMount)| {
        let mut words = ["config", "device", "add", instance]
            .map(str::to_owned)
            .to_vec();
        words.extend([
            format!("bind{number}"),
            "disk".to_owned(),
            format!("source={}", bind.host_path.display()),
            format!("path={}", bind.guest_path),
            format!("readonly={}", bind.read_only),
            "shift=true".to_owned(),
        ]);
        words
    };
    launch.binds.iter().enumerate().map(disk).collect()
}

/// Letters, digits and hyphens, at most 63 (lxd `validate.IsHostname`). Names that are told apart by more than that get a number
/// made of the whole.
fn instance_name(name: &str) -> String {
    const LONGEST: usize = 63;
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let plain = plain.trim_end_matches('-');
    if plain == name && name.len() <= LONGEST {
        return name.to_owned();
    }
    // FNV-1a, 32 bits.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let stem: String = plain.chars().take(LONGEST - 9).collect();
    format!("{stem}-{hash:08x}")
}

/// What the daemon has answered.
fn document(answer: &Answer) -> Option<Value> {
    serde_json::from_str(&answer.stdout).ok()
}

/// The client greets a new user before it says what is wrong.
fn complaint(stderr: &str) -> &str {
    stderr
        .lines()
        .find_map(|line| line.strip_prefix("Error: "))
        .unwrap_or_else(|| first_line(stderr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{host, launch};

    const LXD: Flavour = crate::lxd::FLAVOUR;

    #[test]
    fn a_machine_is_an_image_and_a_container() {
        let mut host = host(CgroupLayout::Hybrid);
        host.env = vec![("LXD_DIR".into(), "/srv/lxd".into())];
        let plan = LXD.hand_over(&launch(), &host).unwrap();
        let setup: Vec<String> = plan.setup.iter().map(ToString::to_string).collect();
        assert_eq!(
            setup,
            [
                "LXD_DIR=/srv/lxd lxc image import /var/lib/repot/machines/web/lxd.tar local: --alias repot-web",
                "LXD_DIR=/srv/lxd lxc init local:repot-web local:repot-web -c user.repot=/var/lib/repot/machines/web \
                 -c boot.autostart=false -c security.nesting=true -c 'raw.lxc=lxc.init.cmd = /sbin/init --log-target=console
lxc.uts.name = web.example
lxc.tty.dir =
lxc.tty.max = 8
lxc.mount.auto = sys:mixed
lxc.signal.halt = SIGRTMIN+4
lxc.mount.entry = cgroup2 sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0
lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0
lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0
lxc.mount.entry = tmpfs scratch tmpfs size=1m,create=dir 0 0' -c environment.TERM=xterm -c limits.memory=67108864B \
                 -c limits.cpu.allowance=150ms/100ms -c limits.processes=100",
                "LXD_DIR=/srv/lxd lxc config device add local:repot-web eth0 none",
                "LXD_DIR=/srv/lxd lxc config device add local:repot-web bind0 disk 'source=/usr/share/a b' path=/mnt \
                 readonly=true shift=true",
                "LXD_DIR=/srv/lxd lxc image delete local:repot-web",
            ]
        );
        // Whatever has to find it again knows where the daemon is.
        let all = [&plan.kill[..], &plan.remove, &[plan.start]].concat();
        assert!(all.iter().all(|command| command.env[0].1 == "/srv/lxd"));
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let host = host(CgroupLayout::Hybrid);
        let shared = Launch {
            network: Network::Host,
            ..launch()
        };
        assert!(LXD.hand_over(&shared, &host).is_err());
        let sly = Launch {
            hostname: "x\nlxc.hook.start-host = /bin/sh".into(),
            ..launch()
        };
        let refused = LXD.hand_over(&sly, &host).unwrap_err().to_string();
        assert!(refused.contains("line break"), "{refused}");
    }

    #[test]
    fn names_are_host_names() {
        assert_eq!(instance_name("repot-web-1"), "repot-web-1");
        let (dot, line) = (instance_name("repot-a.b"), instance_name("repot-a_b"));
        assert!(dot.starts_with("repot-a-b-") && dot != line, "{dot} {line}");
        let long = instance_name(&format!("repot-{}", "x".repeat(90)));
        assert_eq!(long.len(), 63);
    }

    #[test]
    fn greetings_are_no_complaints() {
        let said = "If this is your first time running LXD on this machine, you should also run: lxd init\n\nError: Get \"http://unix.socket/1.0\": dial unix: no such file\n";
        assert!(complaint(said).starts_with("Get "));
        assert_eq!(complaint("odd\n"), "odd");
    }
}
