//! Podman, as root or any user: as Docker, without a daemon. Its own mode for systemd stays off: what it prepares depends on Podman's version
//! and on the host's cgroups, and it would send a systemd's stop signal to every init.
//!
//! # Source
//! podman-create(1), podman-start(1), containers.conf(5), containers-storage.conf(5); measured with 4.3 on a hybrid host.

use crate::{CgroupLayout, Discovery, Engine, Host, Launch, Result, Usable, oci, probe};
use repot_model::{
    CgroupVersion, CommandLine, Delivery, EngineId, HandOver, HostFile, ImageFormat, LeaderProbe,
    Offers,
};

#[derive(Debug)]
pub(crate) struct Podman;

/// Where its storage and settings are (podman(1), ENVIRONMENT VARIABLES).
const VARIABLES: &[&str] = &[
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINER_HOST",
];

/// Limits that Podman sets for every container, whether it may or not (libpod `specgen/generate/oci.go`); it has lowered its own
/// number of processes to this before (M).
const PROCESSES: u64 = 32_768;
/// `RLimitDefaultValue` (libpod `define`).
const OPEN_FILES: u64 = 1_048_576;

/// The command line, with what has to be said to each of its verbs on this host.
fn podman<S: Into<String>>(host: &Host, words: impl IntoIterator<Item = S>) -> CommandLine {
    let mut line = vec!["podman".to_owned()];
    if !host.has_systemd {
        line.push("--cgroup-manager=cgroupfs".into());
    }
    if needs_runc(host) {
        line.push("--runtime=runc".into());
    }
    line.extend(words.into_iter().map(Into::into));
    let command = oci::command(host, VARIABLES, line);
    // repot is in a user namespace like that which Podman would make for this user, and tells it so: Podman looks for these
    // variables after it has made its own (containers/storage pkg/unshare, `UsernsEnvName`).
    let Some((uid, gid)) = host.rootless else {
        return command;
    };
    ["HOME", "XDG_RUNTIME_DIR"]
        .iter()
        .filter_map(|name| Some((*name, host.var(name)?)))
        .fold(command, |command, (name, value)| command.env(name, value))
        .env("_CONTAINERS_USERNS_CONFIGURED", "done")
        .env("_CONTAINERS_ROOTLESS_UID", &uid.to_string())
        .env("_CONTAINERS_ROOTLESS_GID", &gid.to_string())
}

/// Without root there is a cgroup of one's own only where a user may have one at all.
fn cgroups(host: &Host) -> Vec<CgroupVersion> {
    match (host.is_root, host.cgroups) {
        (true, _) | (false, CgroupLayout::Unified) => oci::cgroups(host),
        (false, CgroupLayout::Hybrid | CgroupLayout::Legacy | CgroupLayout::None) => Vec::new(),
    }
}

/// crun: "cgroups in hybrid mode not supported, drop all controllers from cgroupv2" (`src/libcrun/cgroup.c`).
fn needs_runc(host: &Host) -> bool {
    host.cgroups == CgroupLayout::Hybrid
}

impl Engine for Podman {
    fn id(&self) -> &'static str {
        "podman"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let found = probe::by_version(&["podman", "--version"], "apt-get install podman");
        if found.state != Usable::Yes {
            return found;
        }
        let no = |why: String, hint: &str| Discovery {
            version: found.version.clone(),
            state: Usable::No {
                why,
                hint: hint.to_owned(),
            },
        };
        if let Some(address) = host.var("CONTAINER_HOST")
            && !oci::is_local(address)
        {
            return no(
                format!("its service is on another host, {address}"),
                "run repot there: it looks after the machine's processes",
            );
        }
        if needs_runc(host) && probe::ask(&["runc", "--version"], &[]).is_none() {
            return no(
                "this host has cgroup controllers in both hierarchies, which crun does not work with".into(),
                "apt-get install runc",
            );
        }
        let asked = podman(host, ["info", "--format={{.Host.OCIRuntime.Name}}"]);
        let argv: Vec<&str> = asked.argv.iter().map(String::as_str).collect();
        let env: Vec<(&str, &str)> = asked
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        match probe::ask(&argv, &env) {
            Some(answer) if !answer.ok => no(
                probe::first_line(&answer.stderr).to_owned(),
                "`podman info` shows more",
            ),
            Some(_) | None => found,
        }
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            // Processes are children of the caller's session, and inherit its login ID.
            sets_loginuid: !host.has_loginuid,
            // Its filter lets keyctl(2) through (containers/common pkg/seccomp/seccomp.json).
            keyrings: repot_model::Keyrings::Given,
            cgroups: cgroups(host),
            unprivileged: !host.is_root,
            emulators: host.emulators.clone(),
            ids: if host.is_root { u32::MAX } else { 65_536 },
            ..oci::offers(self.id(), host, Some("podman"))
        }
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let name = launch.engine_name();
        // Without a registry in front, Podman would look for the name in its list of them.
        let image = format!("localhost/{name}:latest");
        let file = launch.dir.join("image.tar");
        let argv = oci::argv(
            self.id(),
            launch,
            &cgroups(host),
            oci::CgroupNamespace::Engine,
        )?;
        let mut create = vec![
            "create".to_owned(),
            "--systemd=false".into(),
            "--pull=never".into(),
        ];
        // Without root, repot could not free a console that is PID 1's controlling terminal (ioctl_tty(2), TIOCSCTTY).
        let console = (launch.is_supervised && !host.is_root).then(|| launch.dir.join("console"));
        match &console {
            Some(file) => create.push(format!("--volume={}:/dev/console:dev", file.display())),
            None => create.extend(["--tty", "--interactive"].map(str::to_owned)),
        }
        create.extend(oci::create_options(launch, host));
        if host.is_root && !host.has_capability_named("SYS_RESOURCE") {
            let limits = [
                ("nofile", host.open_files.min(OPEN_FILES)),
                ("nproc", host.processes.min(PROCESSES)),
            ];
            create.extend(limits.map(|(what, most)| format!("--ulimit={what}={most}:{most}")));
        }
        create.push(image.clone());
        create.extend(argv);
        let mut start = vec!["start", "--attach"];
        if console.is_none() {
            start.extend(["--interactive", "--detach-keys="]);
        }
        start.push(&name);
        let own = |words: &[&str]| {
            oci::run_if_own(launch, |words| podman(host, words.iter().copied()), words)
        };
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Image {
                format: ImageFormat::OciArchive,
                file: file.clone(),
            },
            files: console
                .iter()
                .map(|path| HostFile {
                    path: path.clone(),
                    mode: 0o600,
                    text: String::new(),
                })
                .collect(),
            setup: vec![
                podman(
                    host,
                    [
                        "load".into(),
                        "--quiet".into(),
                        format!("--input={}", file.display()),
                    ],
                ),
                podman(host, create),
            ],
            start: podman(host, start),
            console,
            leader: LeaderProbe::Command {
                command: podman(host, ["inspect", "--format={{.State.Pid}}", &name]),
            },
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: vec![own(&["kill", &name])],
            remove: vec![
                own(&["rm", "--force", "--volumes", "--time=0", &name]),
                podman(host, ["rmi", &image]),
            ],
            by_hand: oci::by_hand(&name, |words| podman(host, words.iter().copied())),
        })
    }

    fn unaided(&self, launch: &Launch, host: &Host, found: &Discovery) -> Option<HandOver> {
        let mut plan = self.hand_over(launch, host, found).ok()?;
        let name = launch.engine_name();
        let image = format!("localhost/{name}:latest");
        let words = oci::unaided(launch, &image);
        let create = words.into_iter().chain(["/sbin/init".to_owned()]);
        *plan.setup.last_mut()? = podman(host, create);
        Some(plan)
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        let format = "--format={{.Names}}\t{{.State}}\t{{.Image}}";
        Some(podman(host, ["ps", "--all", format]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{found, host, launch};

    fn create(host: &Host) -> String {
        let plan = Podman.hand_over(&launch(), host, &found("4.3.1")).unwrap();
        plan.setup[1].to_string()
    }

    #[test]
    fn the_runtime_is_one_that_works_with_the_hosts_cgroups() {
        let hybrid = create(&host(CgroupLayout::Hybrid));
        let expected = "podman --cgroup-manager=cgroupfs --runtime=runc create --systemd=false ";
        assert!(hybrid.starts_with(expected), "{hybrid}");
        let mut host = host(CgroupLayout::Unified);
        host.has_systemd = true;
        let unified = create(&host);
        assert!(
            unified.starts_with("podman create --systemd=false "),
            "{unified}"
        );
        assert!(
            unified.contains(" localhost/repot-web:latest /bin/sh -c "),
            "{unified}"
        );
    }

    #[test]
    fn limits_are_asked_for_that_can_be_set() {
        let mut host = host(CgroupLayout::Hybrid);
        assert!(!create(&host).contains("--ulimit"));
        host.capability_bound &= !(1 << 24);
        let create = create(&host);
        assert!(
            create.contains(" --ulimit=nofile=20000:20000 --ulimit=nproc=32768:32768 "),
            "{create}"
        );
    }

    #[test]
    fn without_root_the_console_is_a_terminal_of_repots() {
        let mut host = host(CgroupLayout::Unified);
        (host.is_root, host.rootless) = (false, Some((1000, 1000)));
        let plan = Podman.hand_over(&launch(), &host, &found("4.3.1")).unwrap();
        let create = plan.setup[1].to_string();
        assert!(
            create.contains(" --volume=/var/lib/repot/machines/web/console:/dev/console:dev "),
            "{create}"
        );
        assert!(!create.contains("--tty"), "{create}");
        let start = plan.start.to_string();
        assert!(
            start.contains("podman --cgroup-manager=cgroupfs start --attach repot-web"),
            "{start}"
        );
        assert_eq!(plan.console.as_ref(), Some(&plan.files[0].path));
    }

    #[test]
    fn a_service_elsewhere_cannot_be_used() {
        let mut host = host(CgroupLayout::Unified);
        host.env = vec![("CONTAINER_HOST".into(), "ssh://elsewhere".into())];
        // Where it is not installed, that is said first.
        let state = Podman.discover(&host).state;
        assert!(
            matches!(state, Usable::No { .. } | Usable::Missing { .. }),
            "{state:?}"
        );
    }
}
