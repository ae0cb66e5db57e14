//! containerd, by its own `ctr`: an image, a container made of it, and a task that runs in the foreground.
//!
//! # Source
//! `ctr containers create --help`, `ctr tasks start --help`; containerd `cmd/ctr/commands/run/run_unix.go`, `oci/spec.go`;
//! measured with 1.6 on a hybrid host.

use crate::{CgroupLayout, Discovery, Engine, Host, Launch, Result, Usable, oci, probe};
use repot_model::{
    CommandLine, Delivery, EngineId, HandOver, ImageFormat, LeaderProbe, Network, Offers, Resolver,
    TmpfsMount,
};
use std::path::PathBuf;

#[derive(Debug)]
pub(crate) struct Containerd;

/// Where the daemon is, and what of it is used (ctr(8)).
const VARIABLES: &[&str] = &[
    "CONTAINERD_ADDRESS",
    "CONTAINERD_NAMESPACE",
    "CONTAINERD_SNAPSHOTTER",
];

/// Length of the period that a share of the processors is counted over, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

fn ctr<S: Into<String>>(host: &Host, words: impl IntoIterator<Item = S>) -> CommandLine {
    let words = words.into_iter().map(Into::into);
    oci::command(
        host,
        VARIABLES,
        std::iter::once("ctr".to_owned()).chain(words),
    )
}

/// The daemon's socket, if its address is one (`unix://` may be left out).
fn socket(host: &Host) -> Option<PathBuf> {
    let address = host
        .var("CONTAINERD_ADDRESS")
        .unwrap_or("/run/containerd/containerd.sock");
    let path = address.strip_prefix("unix://").unwrap_or(address);
    path.starts_with('/').then(|| path.into())
}

impl Engine for Containerd {
    fn id(&self) -> &'static str {
        "containerd"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let asked = match socket(host) {
            // ctr waits ten seconds for one that is not there.
            Some(socket) if !socket.exists() => probe::ask(&["ctr", "--version"], &[]).map(|_| {
                let why = format!("its daemon has no socket at {}", socket.display());
                probe::Answer {
                    ok: false,
                    stdout: String::new(),
                    stderr: why,
                }
            }),
            _ => probe::ask(&["ctr", "version"], &[]),
        };
        let Some(answer) = asked else {
            return Discovery {
                version: None,
                state: Usable::Missing {
                    hint: "apt-get install containerd".into(),
                },
            };
        };
        if !answer.ok {
            return Discovery {
                version: None,
                state: Usable::No {
                    why: probe::first_line(&answer.stderr).to_owned(),
                    hint: "start it (`systemctl start containerd`, `containerd &`), or set CONTAINERD_ADDRESS".into(),
                },
            };
        }
        // The client's comes first.
        let version = answer
            .stdout
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("Version:"));
        let version = version.map(|version| version.trim().trim_start_matches('v').to_owned());
        let found = Discovery {
            version,
            state: Usable::Yes,
        };
        probe::for_root(found, host, oci::ROOT_ONLY)
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            // Only with the host's network, whose file it binds.
            resolver: Resolver::Machine,
            ..oci::offers(self.id(), host, None)
        }
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let name = launch.engine_name();
        let image = format!("{name}:latest");
        let file = launch.dir.join("image.tar");
        let mut start = ctr(host, ["tasks", "start"]);
        let pid_file = launch.run.join("leader.pid").display().to_string();
        if launch.is_supervised {
            start = start.arg("--pid-file").arg(pid_file.clone());
        }
        let start = start.arg(name.clone());
        let mut create = vec!["containers".to_owned(), "create".into()];
        create.extend(create_options(self.id(), launch, host)?);
        // ctr looks for options behind the image as well, unless it is told where they end.
        create.extend(["--".to_owned(), image.clone(), name.clone()]);
        create.extend(oci::argv(
            self.id(),
            launch,
            &oci::cgroups(host),
            namespace(host),
        )?);
        let mut stop = vec!["tasks".to_owned(), "kill".into()];
        stop.extend(
            launch
                .power_off
                .map(|signal| format!("--signal={}", signal.number())),
        );
        stop.push(name.clone());
        let filter = format!("labels.repot==\"{}\"", launch.dir.display());
        let asked = ctr(host, ["containers", "list", "--quiet", &filter]);
        let own = |words: &[&str]| {
            let command = ctr(host, words.iter().copied());
            oci::run_if(launch, asked.clone(), &name, command)
        };
        let mut remove = Vec::new();
        // By hand, ctr has seen it end on that terminal, and deleted it.
        if launch.is_supervised {
            remove.push(own(&["tasks", "delete", "--force", &name]));
        }
        remove.push(own(&["containers", "delete", &name]));
        remove.push(ctr(host, ["images", "delete", "--sync", &image]));
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            delivery: Delivery::Image {
                format: ImageFormat::OciArchive,
                file: file.clone(),
            },
            files: Vec::new(),
            setup: vec![
                ctr(
                    host,
                    ["images".into(), "import".into(), file.display().to_string()],
                ),
                ctr(host, create),
            ],
            start,
            console: None,
            leader: LeaderProbe::Command {
                command: CommandLine::new(["cat", &pid_file]),
            },
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: false,
            // A task that nobody waits for stays, and keeps the next one from starting.
            kill: vec![
                own(&["tasks", "kill", "--signal=KILL", &name]),
                own(&["tasks", "delete", "--force", &name]),
            ],
            remove,
            by_hand: vec![
                (
                    "look at its console".into(),
                    ctr(host, ["tasks", "attach", &name]),
                ),
                (
                    "get a shell in it".into(),
                    ctr(
                        host,
                        [
                            "tasks",
                            "exec",
                            "--tty",
                            "--exec-id=shell",
                            &name,
                            "/bin/sh",
                        ],
                    ),
                ),
                ("shut it down".into(), ctr(host, stop)),
            ],
        })
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        // Whether there is a task for it, another question would tell.
        Some(ctr(host, ["containers", "list", "--quiet"]))
    }
}

/// It makes a cgroup namespace only where there is nothing but cgroup2 (`oci/spec.go`, populateDefaultUnixSpec).
fn namespace(host: &Host) -> oci::CgroupNamespace {
    match host.cgroups {
        CgroupLayout::Unified => oci::CgroupNamespace::Engine,
        CgroupLayout::Hybrid | CgroupLayout::Legacy | CgroupLayout::None => {
            oci::CgroupNamespace::Nobody
        }
    }
}

fn create_options(engine: &str, launch: &Launch, host: &Host) -> Result<Vec<String>> {
    // By default there is no filter of system calls, and no program gains privileges (sudo(8) says so and ends).
    let mut options = ["--tty", "--seccomp", "--allow-new-privs"]
        .map(str::to_owned)
        .to_vec();
    options.extend(["--label".to_owned(), oci::label(launch)]);
    for name in oci::extra_capabilities(launch, host) {
        options.extend(["--cap-add".to_owned(), format!("CAP_{name}")]);
    }
    if launch.network == Network::Host {
        options.push("--net-host".into());
    }
    for mount in oci::tmpfs(launch) {
        options.extend(["--mount".to_owned(), tmpfs_option(&mount)]);
    }
    for bind in &launch.binds {
        let mut bind_mount = oci::bind_option(bind, "src", "dst", "options=rbind:ro");
        if !bind.read_only {
            bind_mount.push_str(",options=rbind:rw");
        }
        options.extend(["--mount".to_owned(), bind_mount]);
    }
    for (name, value) in &launch.env {
        options.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    let limits = &launch.limits;
    let has_pids = limits.pids.is_some() && !limits.pids_is_default;
    if has_pids || limits.io_weight.is_some() {
        return Err(oci::cannot(
            engine,
            "ctr can limit neither the number of processes nor the share of the disks",
        ));
    }
    if let Some(bytes) = limits.memory_bytes {
        options.extend(["--memory-limit".to_owned(), bytes.to_string()]);
    }
    if let Some(milli) = limits.cpus_milli {
        let quota = u64::from(milli) * PERIOD / 1000;
        options.extend(["--cpu-period".to_owned(), PERIOD.to_string()]);
        options.extend(["--cpu-quota".to_owned(), quota.to_string()]);
    }
    Ok(options)
}

/// Options are separated by colons here.
fn tmpfs_option(mount: &TmpfsMount) -> String {
    let words = mount.options.split(',').filter(|word| !word.is_empty());
    let options: Vec<&str> = ["nosuid", "nodev"].into_iter().chain(words).collect();
    format!(
        "type=tmpfs,src=tmpfs,dst={},options={}",
        mount.guest_path,
        options.join(":")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{found, host, launch};

    #[test]
    fn a_machine_is_handed_over_as_a_container_and_a_task() {
        let plan = Containerd
            .hand_over(&launch(), &host(CgroupLayout::Hybrid), &found("1.6.20"))
            .unwrap();
        assert_eq!(
            plan.setup[1].to_string(),
            "ctr containers create --tty --seccomp --allow-new-privs --label repot=/var/lib/repot/machines/web --cap-add CAP_AUDIT_WRITE \
             --cap-add CAP_MKNOD --cap-add CAP_SYS_ADMIN --cap-add CAP_SYS_BOOT --cap-add CAP_SYS_TTY_CONFIG \
             --mount type=tmpfs,src=tmpfs,dst=/run,options=nosuid:nodev:exec:mode=755 \
             --mount type=tmpfs,src=tmpfs,dst=/run/lock,options=nosuid:nodev:mode=1777 \
             --mount type=tmpfs,src=tmpfs,dst=/scratch,options=nosuid:nodev:size=1m \
             --mount 'type=bind,src=/usr/share/a b,dst=/mnt,options=rbind:ro' --env TERM=xterm \
             --memory-limit 67108864 --cpu-period 100000 --cpu-quota 150000 -- repot-web:latest repot-web \
             /usr/bin/unshare --cgroup /bin/sh -c \
             'mount -t tmpfs -o nosuid,nodev,noexec tmpfs /sys/fs/cgroup && mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"' \
             /sbin/init --log-target=console"
        );
        assert_eq!(
            plan.start.to_string(),
            "ctr tasks start --pid-file /run/repot/web/leader.pid repot-web"
        );
    }

    #[test]
    fn what_is_another_ones_is_neither_killed_nor_removed() {
        let plan = Containerd
            .hand_over(&launch(), &host(CgroupLayout::Hybrid), &found("1.6.20"))
            .unwrap();
        assert_eq!(
            plan.remove[1].argv[2],
            "[ \"$(ctr containers list --quiet 'labels.repot==\"/var/lib/repot/machines/web\"' 2>/dev/null)\" = repot-web ] \
             && exec ctr containers delete repot-web"
        );
    }

    #[test]
    fn what_it_cannot_limit_is_refused() {
        let mut launch = launch();
        launch.limits.pids_is_default = false;
        let refused = Containerd.hand_over(&launch, &host(CgroupLayout::Hybrid), &found("1.6.20"));
        assert!(refused.is_err());
    }
}
