//! systemd's machine manager: an image in `/var/lib/machines`, a settings file, and systemd-nspawn registered with machined, so that
//! machinectl's verbs see the machine. Where systemd does not run, `nspawn` is the engine.
//!
//! # Source
//! machinectl(1), systemd.nspawn(5), `units/systemd-nspawn@.service.in` of systemd 252; what is marked M was measured in a booted
//! Debian 12.

use crate::{
    Discovery, Engine, Host, Launch, Result, Usable, engine_name, names, nspawn::Nspawn, probe,
};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, EngineId, HandOver, HostFile, ImageFormat, LeaderProbe,
    Limits, Network, Offers,
};
use std::fmt::Write;

#[derive(Debug)]
pub(crate) struct Machinectl;

/// `sh -c LISTING`: machined knows what runs, whoever started it, and which images there are, running or not.
const LISTING: &str = r#"running=$(machinectl list --no-legend --no-pager) || exit
names=' '
while read -r name rest; do
    [ -n "$name" ] || continue
    printf '%s\trunning\n' "$name"
    names="$names$name "
done <<END
$running
END
machinectl list-images --no-legend --no-pager | while read -r name rest; do
    case $names in
        *" $name "*) ;;
        *) printf '%s\tstopped\n' "$name" ;;
    esac
done"#;

impl Engine for Machinectl {
    fn id(&self) -> &'static str {
        "machinectl"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let found = probe::by_version(
            &["machinectl", "--version"],
            "apt-get install systemd-container",
        );
        if found.state == Usable::Yes && !host.has_systemd {
            return Discovery {
                version: found.version,
                state: Usable::No {
                    why: "machined is a service of systemd, which does not run here".to_owned(),
                    hint: "--on nspawn runs the same systemd-nspawn without it".to_owned(),
                },
            };
        }
        probe::for_root(found, host, "machines of the system are root's")
    }

    fn offers(&self, host: &Host, found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            // `systemctl stop` of the unit, and so the host's own shutdown, sends what the settings file names. `machinectl
            // poweroff` sends SIGRTMIN+4, whatever PID 1 is: for systemd only.
            ..Nspawn.offers(host, found)
        }
    }

    fn hand_over(&self, launch: &Launch, _host: &Host, _found: &Discovery) -> Result<HandOver> {
        let name = engine_name(&launch.name);
        let unit = format!("systemd-nspawn@{name}.service");
        let unified = if launch.can_use(CgroupVersion::V2) {
            "1"
        } else {
            "0"
        };
        let image = launch.dir.join("machinectl.tar");
        let machinectl = |verb: &str| CommandLine::new(["machinectl", verb, name.as_str()]);
        let settings_file = format!("/etc/systemd/nspawn/{name}.nspawn");
        let drop_ins = format!("/etc/systemd/system/{unit}.d");
        let drop_in = format!("{drop_ins}/repot.conf");
        let reload = CommandLine::new(["systemctl", "daemon-reload"]);
        let limits = limits(&launch.limits);
        let start = [
            "--quiet".to_owned(),
            format!("--machine={name}"),
            "--settings=override".into(),
            "--console=interactive".into(),
            format!("--hostname={}", names::host_name(&launch.hostname)),
            format!("--uuid={}", launch.uuid),
        ]
        .into_iter()
        .chain(limits.iter().map(|limit| format!("--property={limit}")))
        .fold(CommandLine::new(["systemd-nspawn"]), CommandLine::arg);
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Image {
                format: ImageFormat::Tar,
                file: image.clone(),
            },
            files: vec![
                HostFile {
                    path: settings_file.clone().into(),
                    mode: 0o600,
                    text: settings(launch),
                },
                // For those who start it by `machinectl start`: what nspawn itself guesses for a tree without systemd is v1.
                HostFile {
                    path: drop_in.clone().into(),
                    mode: 0o644,
                    text: limits.iter().fold(
                        format!(
                            "[Service]\nEnvironment=SYSTEMD_NSPAWN_UNIFIED_HIERARCHY={unified}\n"
                        ),
                        |text, limit| text + limit + "\n",
                    ),
                },
            ],
            setup: vec![
                reload.clone(),
                CommandLine::new([
                    "machinectl".to_owned(),
                    "import-tar".into(),
                    image.display().to_string(),
                    name.clone(),
                ]),
            ],
            // Registered, and so in a scope of systemd's; it restarts the machine itself.
            start: start
                .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", unified)
                .env("SYSTEMD_NSPAWN_CHECK_OS_RELEASE", "0"),
            console: None,
            leader: LeaderProbe::Descendant,
            restarts_itself: true,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: vec![machinectl("terminate")],
            // The files before the last of them, which has systemd forget the drop-in too.
            remove: vec![
                machinectl("remove"),
                CommandLine::new(["rm", "-f", settings_file.as_str(), drop_in.as_str()]),
                CommandLine::new(["rmdir", drop_ins.as_str()]),
                reload,
            ],
            by_hand: vec![
                ("start it in the background".to_owned(), machinectl("start")),
                (
                    "log in; needs systemd and D-Bus in the machine".to_owned(),
                    machinectl("login"),
                ),
                ("a shell; needs the same".to_owned(), machinectl("shell")),
                (
                    "stop, for systemd in the machine".to_owned(),
                    machinectl("poweroff"),
                ),
                (
                    "stop, for any init: by the signal of the settings file".to_owned(),
                    CommandLine::new(["systemctl", "stop", unit.as_str()]),
                ),
            ],
        })
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        host.has_systemd
            .then(|| CommandLine::new(["sh", "-c", LISTING]))
    }
}

/// As properties of a unit (systemd.resource-control(5)): of the scope that it is registered with, or of the service.
fn limits(limits: &Limits) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        lines.extend([format!("MemoryMax={bytes}"), "MemorySwapMax=0".to_owned()]);
    }
    if let Some(milli) = limits.cpus_milli {
        lines.push(format!("CPUQuota={}%", (milli / 10).max(1)));
    }
    if let Some(pids) = limits.pids {
        lines.push(format!("TasksMax={pids}"));
    }
    if let Some(weight) = limits.io_weight {
        lines.push(format!("IOWeight={weight}"));
    }
    lines
}

/// The settings file (systemd.nspawn(5)). The unit's own options are `--boot`, `-U`, `--network-veth`.
fn settings(launch: &Launch) -> String {
    let argv: Vec<String> = launch.argv.iter().map(|word| quoted(word)).collect();
    let (private, resolv_conf) = match launch.network {
        Network::None => ("yes", "off"),
        Network::Host => ("no", "bind-host"),
    };
    let mut text = format!(
        "# Written by repot.\n[Exec]\nBoot=no\nProcessTwo=no\nParameters={}\nPrivateUsers=no\nLinkJournal=no\nResolvConf={}\nTimezone=off\n",
        argv.join(" "),
        resolv_conf
    );
    if let Some(signal) = launch.power_off {
        let _ = writeln!(text, "KillSignal={signal}");
    }
    for (name, value) in &launch.env {
        let _ = writeln!(text, "Environment={}", quoted(&format!("{name}={value}")));
    }
    let _ = write!(text, "\n[Network]\nPrivate={private}\nVirtualEthernet=no\n");
    if !launch.binds.is_empty() || !launch.tmpfs.is_empty() {
        text.push_str("\n[Files]\n");
    }
    for bind in &launch.binds {
        let key = if bind.read_only {
            "BindReadOnly"
        } else {
            "Bind"
        };
        let host = bind.host_path.display().to_string();
        let _ = writeln!(
            text,
            "{key}={}",
            quoted(&format!("{}:{}", colons(&host), colons(&bind.guest_path)))
        );
    }
    for tmpfs in &launch.tmpfs {
        let _ = writeln!(
            text,
            "TemporaryFileSystem={}",
            quoted(&format!("{}:{}", colons(&tmpfs.guest_path), tmpfs.options))
        );
    }
    text
}

fn colons(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

/// A word as systemd.syntax(7) has it, with `%` for itself and no way to another line.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CgroupLayout;
    use crate::tests::{found, host, launch};

    #[test]
    fn a_machine_is_an_image_and_a_settings_file() {
        let plan = Machinectl
            .hand_over(&launch(), &host(CgroupLayout::Unified), &found("252"))
            .unwrap();
        assert!(plan.files[0].text.starts_with(
            "# Written by repot.\n[Exec]\nBoot=no\nProcessTwo=no\nParameters=/sbin/init --log-target=console\n"
        ));
        assert!(plan.files[0].text.contains("\nKillSignal=SIGRTMIN+4\n"));
        assert!(plan.files[0].text.contains("\nResolvConf=off\n"));
        let shared = Launch {
            network: Network::Host,
            ..launch()
        };
        assert!(settings(&shared).contains("\nResolvConf=bind-host\n"));
        let name = engine_name(&launch().name);
        assert_eq!(
            plan.setup[1].to_string(),
            format!("machinectl import-tar /var/lib/repot/machines/web/machinectl.tar {name}")
        );
    }

    #[test]
    fn limits_hold_however_it_is_started() {
        let plan = Machinectl
            .hand_over(&launch(), &host(CgroupLayout::Unified), &found("252"))
            .unwrap();
        let start = plan.start.to_string();
        assert!(
            start.ends_with(
                " --property=MemoryMax=67108864 --property=MemorySwapMax=0 --property=CPUQuota=150% --property=TasksMax=100"
            ),
            "{start}"
        );
        let unit = &plan.files[1].text;
        assert!(
            unit.ends_with("\nMemoryMax=67108864\nMemorySwapMax=0\nCPUQuota=150%\nTasksMax=100\n"),
            "{unit}"
        );
    }

    #[test]
    fn nothing_is_left_of_a_machine() {
        let plan = Machinectl
            .hand_over(&launch(), &host(CgroupLayout::Unified), &found("252"))
            .unwrap();
        let name = engine_name(&launch().name);
        let remove: Vec<String> = plan.remove.iter().map(ToString::to_string).collect();
        assert_eq!(
            remove,
            [
                format!("machinectl remove {name}"),
                format!(
                    "rm -f /etc/systemd/nspawn/{name}.nspawn /etc/systemd/system/systemd-nspawn@{name}.service.d/repot.conf"
                ),
                format!("rmdir /etc/systemd/system/systemd-nspawn@{name}.service.d"),
                "systemctl daemon-reload".to_owned(),
            ]
        );
    }

    #[test]
    fn its_list_is_asked_for_only_where_somebody_answers() {
        let mut host = host(CgroupLayout::Unified);
        assert!(Machinectl.listing(&host).is_none());
        host.has_systemd = true;
        assert!(Machinectl.listing(&host).is_some());
    }

    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(quoted("a\nBoot=yes"), "\"a\\nBoot=yes\"");
        assert_eq!(quoted("/sbin/init"), "/sbin/init");
    }

    #[test]
    fn without_systemd_it_cannot_be_used() {
        let found = Machinectl.discover(&host(CgroupLayout::Unified));
        assert!(!matches!(found.state, Usable::Yes));
    }
}
