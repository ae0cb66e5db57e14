//! Docker: a container made of an image with the tree in it, run by `docker start` in the foreground. Never `--privileged`.
//!
//! # Source
//! docker-container-create(1), docker-container-start(1); moby `oci/`, `profiles/seccomp`; measured with 20.10 on a hybrid host.

use crate::{Discovery, Engine, Host, Launch, Result, Usable, oci, probe};
use repot_model::{CommandLine, Delivery, EngineId, HandOver, ImageFormat, LeaderProbe, Offers};

#[derive(Debug)]
pub(crate) struct Docker;

/// Where the daemon is (docker(1), ENVIRONMENT).
const VARIABLES: &[&str] = &["DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"];

/// What leaves the container without stopping it. By default that is Ctrl-P Ctrl-Q, and every Ctrl-P waits for the next key;
/// this nobody types.
const DETACH_KEYS: &str = "--detach-keys=ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@";

fn docker<S: Into<String>>(host: &Host, words: impl IntoIterator<Item = S>) -> CommandLine {
    let words = words.into_iter().map(Into::into);
    oci::command(
        host,
        VARIABLES,
        std::iter::once("docker".to_owned()).chain(words),
    )
}

/// Where the client finds its daemon: `DOCKER_HOST`, else what the current context says (docker-context(1)).
fn address(host: &Host) -> String {
    if let Some(address) = host.var("DOCKER_HOST") {
        return address.to_owned();
    }
    let format = "--format={{.Endpoints.docker.Host}}";
    let context = probe::ask(&["docker", "context", "inspect", format], &[]);
    let address = context
        .filter(|answer| answer.ok)
        .map(|answer| answer.stdout);
    let address = address.as_deref().map(str::trim).unwrap_or_default();
    match address {
        // A client without contexts.
        "" => "unix://".to_owned(),
        address => address.to_owned(),
    }
}

impl Engine for Docker {
    fn id(&self) -> &'static str {
        "docker"
    }

    fn discover(&self, host: &Host) -> Discovery {
        let asked = ["docker", "version", "--format", "{{.Server.Version}}"];
        let Some(answer) = probe::ask(&asked, &[]) else {
            return Discovery {
                version: None,
                state: Usable::Missing {
                    hint: "apt-get install docker.io".into(),
                },
            };
        };
        let address = address(host);
        let version = answer.ok.then(|| answer.stdout.trim().to_owned());
        let state = if !oci::is_local(&address) {
            Usable::No {
                why: format!("its daemon is on another host, {address}"),
                hint: "run repot there: it looks after the machine's processes".into(),
            }
        } else if !answer.ok {
            Usable::No {
                why: probe::first_line(&answer.stderr).to_owned(),
                hint: "start its daemon (`systemctl start docker`, `service docker start`), or set DOCKER_HOST".into(),
            }
        } else {
            Usable::Yes
        };
        probe::for_root(Discovery { version, state }, host, oci::ROOT_ONLY)
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        oci::offers(self.id(), host, None)
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        let name = launch.engine_name();
        let image = format!("{name}:latest");
        let file = launch.dir.join("image.tar");
        let argv = oci::argv(
            self.id(),
            launch,
            &oci::cgroups(host),
            oci::CgroupNamespace::Engine,
        )?;
        let mut create = vec!["create".to_owned()];
        create.extend(["--tty", "--interactive"].map(str::to_owned));
        create.extend(oci::create_options(launch, host));
        create.push(image.clone());
        create.extend(argv);
        let own = |words: &[&str]| {
            oci::run_if_own(launch, |words| docker(host, words.iter().copied()), words)
        };
        Ok(HandOver {
            engine: EngineId(self.id().to_owned()),
            // Docker reads OCI archives only since 25.
            delivery: Delivery::Image {
                format: ImageFormat::DockerArchive,
                file: file.clone(),
            },
            files: Vec::new(),
            setup: vec![
                docker(
                    host,
                    [
                        "load".into(),
                        "--quiet".into(),
                        format!("--input={}", file.display()),
                    ],
                ),
                docker(host, create),
            ],
            start: docker(
                host,
                ["start", "--attach", "--interactive", DETACH_KEYS, &name],
            ),
            console: None,
            leader: LeaderProbe::Command {
                command: docker(host, ["inspect", "--format={{.State.Pid}}", &name]),
            },
            restarts_itself: false,
            reboot_status: None,
            stays_in_cgroup: false,
            kill: vec![own(&["kill", &name])],
            remove: vec![
                own(&["rm", "--force", "--volumes", &name]),
                docker(host, ["rmi", &image]),
            ],
            by_hand: oci::by_hand(&name, |words| docker(host, words.iter().copied())),
        })
    }

    fn unaided(&self, launch: &Launch, host: &Host, found: &Discovery) -> Option<HandOver> {
        let mut plan = self.hand_over(launch, host, found).ok()?;
        let name = launch.engine_name();
        let image = format!("{name}:latest");
        let words = oci::unaided(launch, &image);
        let create = words.into_iter().chain(["/sbin/init".to_owned()]);
        *plan.setup.last_mut()? = docker(host, create);
        Some(plan)
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        let format = "--format={{.Names}}\t{{.State}}\t{{.Image}}";
        Some(docker(host, ["ps", "--all", format]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CgroupLayout;
    use crate::tests::{found, host, launch};
    use repot_model::{CgroupVersion, Network};

    fn plan(launch: &Launch, host: &Host) -> HandOver {
        Docker.hand_over(launch, host, &found("20.10.24")).unwrap()
    }

    #[test]
    fn a_machine_is_handed_over_as_an_image_and_a_container() {
        let mut host = host(CgroupLayout::Hybrid);
        host.env = vec![("DOCKER_HOST".into(), "unix:///run/d.sock".into())];
        let plan = plan(&launch(), &host);
        let setup: Vec<String> = plan.setup.iter().map(ToString::to_string).collect();
        assert_eq!(
            setup,
            [
                "DOCKER_HOST=unix:///run/d.sock docker load --quiet --input=/var/lib/repot/machines/web/image.tar",
                "DOCKER_HOST=unix:///run/d.sock docker create --tty --interactive --name=repot-web \
                 --label=repot=/var/lib/repot/machines/web --hostname=web.example --stop-timeout=90 --network=none --stop-signal=SIGRTMIN+4 \
                 --cap-add=AUDIT_WRITE --cap-add=MKNOD --cap-add=SYS_ADMIN --cap-add=SYS_BOOT \
                 --cap-add=SYS_TTY_CONFIG --cgroupns=private --tmpfs=/run:exec,mode=755 \
                 --tmpfs=/run/lock:mode=1777 --tmpfs=/scratch:size=1m \
                 '--mount=type=bind,source=/usr/share/a b,target=/mnt,readonly' --env=TERM=xterm \
                 --memory=67108864 --cpus=1.500 --pids-limit=100 repot-web:latest /bin/sh -c \
                 'mount -t tmpfs -o nosuid,nodev,noexec tmpfs /sys/fs/cgroup && mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"' \
                 /sbin/init --log-target=console",
            ]
        );
        assert_eq!(
            plan.start.to_string(),
            format!(
                "DOCKER_HOST=unix:///run/d.sock docker start --attach --interactive {DETACH_KEYS} repot-web"
            )
        );
    }

    #[test]
    fn an_init_without_cgroups_gets_less() {
        let mut launch = launch();
        launch.cgroups.clear();
        launch.network = Network::Host;
        launch.power_off = None;
        let plan = plan(&launch, &host(CgroupLayout::Hybrid));
        let create = plan.setup[1].to_string();
        for part in ["SYS_ADMIN", "cgroup", "--stop-signal", "/bin/sh"] {
            assert!(!create.contains(part), "{create}");
        }
        assert!(create.contains(" --network=host "), "{create}");
        assert!(create.ends_with(" repot-web:latest /sbin/init --log-target=console"));
    }

    #[test]
    fn the_layout_is_one_that_init_and_host_have() {
        let mut launch = launch();
        launch.cgroups = vec![CgroupVersion::V1Systemd];
        let create = plan(&launch, &host(CgroupLayout::Hybrid)).setup[1].to_string();
        assert!(create.contains("mount -o remount,bind,rw /sys/fs/cgroup/systemd && "));
        let refused = Docker.hand_over(&launch, &host(CgroupLayout::Unified), &found("20.10.24"));
        assert!(refused.is_err());
        launch.cgroups = vec![CgroupVersion::V2];
        let refused = Docker.hand_over(&launch, &host(CgroupLayout::Legacy), &found("20.10.24"));
        assert!(refused.is_err());
    }

    #[test]
    fn security_modules_are_told_of_mounts() {
        let mut host = host(CgroupLayout::Unified);
        host.has_apparmor = true;
        let create = plan(&launch(), &host).setup[1].to_string();
        assert!(
            create.contains(" --security-opt=apparmor=unconfined "),
            "{create}"
        );
        let mut launch = launch();
        launch.cgroups.clear();
        let create = plan(&launch, &host).setup[1].to_string();
        assert!(!create.contains("apparmor"), "{create}");
    }
}
