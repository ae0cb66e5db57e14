//! What Docker, Podman and containerd have in common: they run a machine by an OCI runtime (runc, crun), as root of the host, with
//! its cgroups read-only and few capabilities. An init that asks for cgroups gets them by an entry command, which
//! needs no more of the engine than CAP_SYS_ADMIN and works in all of them (ADR 0012).

use crate::{CgroupLayout, Error, Host, Launch, Result};
use repot_model::{
    BindMount, CgroupVersion, CommandLine, EngineId, Keyrings, Network, OfferedTerminal, Offers,
    ProgramOffer, Resolver, StopOffer, Sys, TmpfsMount, shell_word,
};

/// Why a user without privileges cannot have a machine there.
pub(crate) const ROOT_ONLY: &str =
    "repot enters machines in it by their namespaces, which are root's";

/// What these engines leave to a machine by themselves (moby `oci/caps/defaults.go`, containerd `oci/spec.go`). Podman's list
/// depends on containers.conf(5), so it is given what is in here and matters for logging in.
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What a machine gets on top, as far as the host has it.
pub(crate) fn extra_capabilities(launch: &Launch, host: &Host) -> Vec<&'static str> {
    let mut wanted = vec![
        // A login that cannot be written to the audit log fails (Linux-PAM `_pam_audit.c`: EPERM counts for root).
        "AUDIT_WRITE",
        // By reboot(2) the init says that it has shut down. In a PID namespace that only ends the namespace
        // (kernel/pid_namespace.c, reboot_pid_ns).
        "SYS_BOOT",
        // login and getty hang up the terminal first (vhangup(2)).
        "SYS_TTY_CONFIG",
    ];
    if !launch.cgroups.is_empty() {
        // An init that manages cgroups also mounts, and makes devices for its units (`PrivateDevices=`).
        wanted.extend(["MKNOD", "SYS_ADMIN"]);
    }
    if launch.claims_terminal && !launch.is_supervised {
        // To take the console from PID 1, as in an image that is run without repot.
        wanted.push("SYS_ADMIN");
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|name| host.has_capability_named(name));
    wanted
}

/// All capabilities that a machine can get.
fn capabilities(host: &Host) -> Vec<String> {
    let extra = ["SYS_ADMIN", "SYS_BOOT", "SYS_TTY_CONFIG"];
    let mut all: Vec<&str> = DEFAULT.iter().copied().chain(extra).collect();
    all.sort_unstable();
    all.retain(|name| host.has_capability_named(name));
    all.into_iter().map(str::to_owned).collect()
}

/// cgroup layouts that the entry command can make of what the engine gives.
///
/// cgroup2 only where the runtime makes a cgroup for the machine in it: with v1 alone, where cgroup2 is not mounted, the
/// machine would stand in the host's root of it (runc `libcontainer/cgroups/fs`, hybrid mode).
pub(crate) fn cgroups(host: &Host) -> Vec<CgroupVersion> {
    match host.cgroups {
        CgroupLayout::Unified => vec![CgroupVersion::V2],
        CgroupLayout::Hybrid => vec![CgroupVersion::V2, CgroupVersion::V1Systemd],
        CgroupLayout::Legacy => vec![CgroupVersion::V1Systemd],
        CgroupLayout::None => Vec::new(),
    }
}

/// Whether the engine's own cgroup namespace is enough, or the entry command has to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupNamespace {
    /// The engine makes one.
    Engine,
    /// Nobody does.
    Nobody,
}

/// argv of the machine's first program: the init, or, where it asks for cgroups, a command that makes them writable and becomes
/// the init.
///
/// # Errors
/// The init knows none of the layouts that there are.
pub(crate) fn argv(
    engine: &str,
    launch: &Launch,
    offered: &[CgroupVersion],
    namespace: CgroupNamespace,
) -> Result<Vec<String>> {
    if launch.cgroups.is_empty() {
        return Ok(with_free_console(launch));
    }
    let mount = match launch
        .cgroups
        .iter()
        .find(|wanted| offered.contains(wanted))
    {
        // Over whatever the engine has mounted there: v1, or read-only. The latter is cgroup2 too, and no file system can be mounted
        // over itself (fs/namespace.c, do_add_mount: EBUSY), so that a tmpfs comes between.
        Some(CgroupVersion::V2) => {
            "mount -t tmpfs -o nosuid,nodev,noexec tmpfs /sys/fs/cgroup && \
             mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup"
        }
        Some(CgroupVersion::V1Systemd) => "mount -o remount,bind,rw /sys/fs/cgroup/systemd",
        None => {
            return Err(cannot(
                engine,
                "the tree's init knows none of the cgroup layouts that a machine can have on this host",
            ));
        }
    };
    let mut argv: Vec<String> = match namespace {
        CgroupNamespace::Engine => Vec::new(),
        CgroupNamespace::Nobody => vec!["/usr/bin/unshare".into(), "--cgroup".into()],
    };
    argv.extend(["/bin/sh", "-c"].map(str::to_owned));
    argv.push(format!("{mount} && exec \"$0\" \"$@\""));
    argv.extend(launch.argv.iter().cloned());
    Ok(argv)
}

/// Waits, for ten seconds at most, until PID 1 has no controlling terminal (field 7 of proc_pid_stat(5)).
const WAIT_FOR_CONSOLE: &str = "\
n=0; while read -r _ _ _ _ _ _ tty _ </proc/self/stat && [ \"$tty\" != 0 ] && [ $n -lt 100 ]; do \
n=$((n + 1)); sleep 0.1 2>/dev/null || sleep 1; done; exec \"$0\" \"$@\"";

/// argv of an init whose gettys end where the console is PID 1's controlling terminal, and come again after ten seconds only (busybox):
/// it waits for repot's supervisor to free the console.
fn with_free_console(launch: &Launch) -> Vec<String> {
    let mut argv = Vec::new();
    if launch.claims_terminal && launch.is_supervised {
        argv.extend(["/bin/sh", "-c", WAIT_FOR_CONSOLE].map(str::to_owned));
    }
    argv.extend(launch.argv.iter().cloned());
    argv
}

/// In an image that is run without repot: makes a cgroup2 of the container's own writable, unless it is or that takes privileges that
/// are not there, and becomes the init. A cgroup namespace comes first, since engines give none by themselves on hosts with v1.
/// The root of all cgroups, which has no `cgroup.events`, is the host's: it is seen where the engine knows nothing of cgroup2, and
/// let go. Podman's mode for systemd is for commands that end with `/systemd`, behind `/bin/sh -c` too (podman
/// `pkg/specgen/generate/container_create.go`).
const IMAGE_ENTRY: &str = "\
[ -w /sys/fs/cgroup/cgroup.procs ] || \
if unshare -C true 2>/dev/null; then \
exec unshare -C /bin/sh -c '\
mount -t tmpfs -o nosuid,nodev,noexec tmpfs /sys/fs/cgroup && \
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup && \
{ [ -e /sys/fs/cgroup/cgroup.events ] || umount /sys/fs/cgroup /sys/fs/cgroup; }; \
exec \"$0\" \"$@\"' \"$0\" \"$@\"; \
elif ! [ -w /sys/fs/cgroup/systemd/cgroup.procs ]; then \
echo 'This system needs cgroups that it may write to: run it with --cap-add SYS_ADMIN.' >&2; \
fi; exec \"$0\" \"$@\" # for Podman: /systemd";

/// argv for an image of a tree that is run without repot: the init's own, or, where it asks for cgroup2, a command of the tree's shell
/// that becomes the init (ADR 0012).
pub fn image_argv(argv: Vec<String>, cgroups: &[CgroupVersion]) -> Vec<String> {
    if !cgroups.contains(&CgroupVersion::V2) {
        return argv;
    }
    let entry = ["/bin/sh", "-c", IMAGE_ENTRY].map(str::to_owned);
    entry.into_iter().chain(argv).collect()
}

/// Capabilities with which such an image does all that its tree can: those that Docker does not give by itself.
pub fn image_capabilities(cgroups: &[CgroupVersion], claims_terminal: bool) -> Vec<&'static str> {
    // Such a getty takes the console from PID 1, to which runc has given it, or ends (ioctl_tty(2), TIOCSCTTY).
    let admin = !cgroups.is_empty() || claims_terminal;
    let admin = admin.then_some("SYS_ADMIN");
    admin
        .into_iter()
        .chain(["SYS_BOOT", "SYS_TTY_CONFIG"])
        .collect()
}

/// tmpfs mounts of a machine: what inits expect to find empty, then what the user wants. Programs in `/run` are run by some.
pub(crate) fn tmpfs(launch: &Launch) -> Vec<TmpfsMount> {
    let own = [("/run", "exec,mode=755"), ("/run/lock", "mode=1777")];
    let own = own.map(|(path, options)| TmpfsMount {
        guest_path: path.to_owned(),
        options: options.to_owned(),
    });
    let is_wanted = |path: &str| launch.tmpfs.iter().any(|it| it.guest_path == path);
    own.into_iter()
        .filter(|mount| !is_wanted(&mount.guest_path))
        .chain(launch.tmpfs.iter().cloned())
        .collect()
}

/// A bind for `--mount`: comma-separated, and read as CSV, where a field with a comma is quoted (RFC 4180).
pub(crate) fn bind_option(bind: &BindMount, source: &str, target: &str, read_only: &str) -> String {
    let mut fields = vec![
        "type=bind".to_owned(),
        format!("{source}={}", bind.host_path.display()),
        format!("{target}={}", bind.guest_path),
    ];
    if bind.read_only {
        fields.push(read_only.to_owned());
    }
    fields
        .iter()
        .map(|field| csv(field))
        .collect::<Vec<_>>()
        .join(",")
}

fn csv(field: &str) -> String {
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Options of `docker create` and `podman create`, which are the same.
///
/// # Errors
/// As for [`argv`].
pub(crate) fn create_options(launch: &Launch, host: &Host) -> Vec<String> {
    let mut options = vec![
        format!("--name={}", launch.engine_name()),
        format!("--label={}", label(launch)),
        format!("--hostname={}", launch.hostname),
        format!("--stop-timeout={}", launch.patience_s),
        match launch.network {
            Network::Host => "--network=host".into(),
            Network::None => "--network=none".into(),
        },
    ];
    if let Some(signal) = launch.power_off {
        options.push(format!("--stop-signal={signal}"));
    }
    for name in extra_capabilities(launch, host) {
        options.push(format!("--cap-add={name}"));
    }
    if !launch.cgroups.is_empty() {
        options.push("--cgroupns=private".into());
        // Their profiles deny what SYS_ADMIN is there for (moby profiles/apparmor/template.go, `deny mount`).
        if host.has_apparmor {
            options.push("--security-opt=apparmor=unconfined".into());
        }
        if host.has_selinux {
            options.push("--security-opt=label=disable".into());
        }
    }
    for mount in tmpfs(launch) {
        let path = &mount.guest_path;
        options.push(match mount.options.is_empty() {
            true => format!("--tmpfs={path}"),
            false => format!("--tmpfs={path}:{}", mount.options),
        });
    }
    for bind in &launch.binds {
        let bind = bind_option(bind, "source", "target", "readonly");
        options.push(format!("--mount={bind}"));
    }
    for (name, value) in &launch.env {
        options.push(format!("--env={name}={value}"));
    }
    let limits = &launch.limits;
    if let Some(bytes) = limits.memory_bytes {
        options.push(format!("--memory={bytes}"));
    }
    if let Some(milli) = limits.cpus_milli {
        options.push(format!("--cpus={}.{:03}", milli / 1000, milli % 1000));
    }
    if let Some(pids) = limits.pids {
        options.push(format!("--pids-limit={pids}"));
    }
    if let Some(weight) = limits.io_weight {
        // From 1..10000 with 100 as what everybody has to 10..1000 with 500 (runc, ConvertBlkIOToIOWeightValue, backwards).
        let weight = (u32::from(weight) * 99 / 1000 + 10).min(1000);
        options.push(format!("--blkio-weight={weight}"));
    }
    options
}

/// What these engines give. `container` is the variable that the engine sets by itself.
pub(crate) fn offers(engine: &str, host: &Host, container: Option<&str>) -> Offers {
    Offers {
        engine: EngineId(engine.to_owned()),
        // A bind mount of the pty, whose name ttyname(3) finds (M).
        console: OfferedTerminal {
            device: "console".into(),
            login_name: "console".into(),
        },
        terminals: Vec::new(),
        tty1_is_console: false,
        makes_missing_terminals: false,
        serves_silent_console: true,
        is_pid1: true,
        program: ProgramOffer::Any,
        container: container.map(str::to_owned),
        takes_env: true,
        cgroups: cgroups(host),
        capabilities: capabilities(host),
        stop: StopOffer::AnySignal,
        mounts: ["/proc", "/sys", "/dev", "/dev/shm", "/run"]
            .map(str::to_owned)
            .to_vec(),
        // What is missing of /dev, /proc and /sys, the runtime makes.
        demands: Vec::new(),
        ids: u32::MAX,
        // SYS_RESOURCE is not given.
        raises_limits: false,
        // Daemons are started by an init, so that their login ID is unset, and may be set once (kernel/auditsc.c).
        sets_loginuid: true,
        // Their filters answer EPERM to keyctl(2) and add_key(2).
        keyrings: Keyrings::Refused,
        sys: Sys::ReadOnly,
        interfaces: Vec::new(),
        shares_network: false,
        resolver: Resolver::Engine,
        unprivileged: false,
        emulators: host.emulators.clone(),
    }
}

/// A command with those of the caller's variables that tell where the engine is: what is run later, perhaps from elsewhere, has
/// to find the same one.
pub(crate) fn command<S: Into<String>>(
    host: &Host,
    variables: &[&str],
    words: impl IntoIterator<Item = S>,
) -> CommandLine {
    variables
        .iter()
        .filter_map(|name| Some((*name, host.var(name)?)))
        .fold(CommandLine::new(words), |command, (name, value)| {
            command.env(name, value)
        })
}

/// Whether a daemon's address is of this host.
pub(crate) fn is_local(address: &str) -> bool {
    address.starts_with('/') || address.starts_with("unix://") || address.starts_with("fd://")
}

/// An error of that engine.
pub(crate) fn cannot(engine: &str, why: &str) -> Error {
    Error::CannotHost {
        engine: EngineId(engine.to_owned()),
        why: why.to_owned(),
    }
}

/// What one types to look after a container, with a client that understands Docker's words.
pub(crate) fn by_hand(
    name: &str,
    client: impl Fn(&[&str]) -> CommandLine,
) -> Vec<(String, CommandLine)> {
    let rows: [(&str, &[&str]); 4] = [
        ("look at its console", &["attach", name]),
        ("read what it has said", &["logs", name]),
        (
            "get a shell in it",
            &["exec", "--interactive", "--tty", name, "/bin/sh", "-l"],
        ),
        ("shut it down", &["stop", name]),
    ];
    rows.iter()
        .map(|(what, words)| ((*what).to_owned(), client(words)))
        .collect()
}

/// The obvious way to make a container of a tree's image. A network would leave a bridge on the host.
pub(crate) fn unaided(launch: &Launch, image: &str) -> Vec<String> {
    let name = format!("--name={}", launch.engine_name());
    let label = format!("--label={}", label(launch));
    ["create", "--tty", "--interactive", "--network=none"]
        .into_iter()
        .chain([name.as_str(), &label, image])
        .map(str::to_owned)
        .collect()
}

/// What a container says of whose it is: names are shared with all others, also with machines of another `REPOT_DATA_DIR`.
pub(crate) fn label(launch: &Launch) -> String {
    format!("repot={}", launch.dir.display())
}

/// A command that is run only if another one answers this: that the container is the machine's. Whoever types it knows that.
pub(crate) fn run_if(
    launch: &Launch,
    asked: CommandLine,
    answer: &str,
    command: CommandLine,
) -> CommandLine {
    if !launch.is_supervised {
        return command;
    }
    let text = format!(
        "[ \"$({} 2>/dev/null)\" = {} ] && exec {}",
        CommandLine::new(asked.argv),
        shell_word(answer),
        CommandLine::new(command.argv)
    );
    CommandLine {
        argv: vec!["/bin/sh".into(), "-c".into(), text],
        env: command.env,
    }
}

/// The same for clients that understand Docker's words: the container must be this machine's.
pub(crate) fn run_if_own(
    launch: &Launch,
    client: impl Fn(&[&str]) -> CommandLine,
    words: &[&str],
) -> CommandLine {
    let format = "--format={{index .Config.Labels \"repot\"}}";
    let name = launch.engine_name();
    let asked = client(&["inspect", "--type=container", format, &name]);
    run_if(
        launch,
        asked,
        &launch.dir.display().to_string(),
        client(words),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_waits_for_its_console_or_may_take_it() {
        let host = crate::tests::host(crate::CgroupLayout::Hybrid);
        let mut launch = crate::tests::launch();
        launch.cgroups.clear();
        launch.claims_terminal = true;
        let argv = with_free_console(&launch);
        assert_eq!(argv[3..], launch.argv);
        assert!(!extra_capabilities(&launch, &host).contains(&"SYS_ADMIN"));
        // A shell without a controlling terminal goes on at once, with the arguments.
        let output = std::process::Command::new("setsid")
            .args(["--wait", &argv[0], "-c", &argv[2], "/bin/echo", "a b", "c"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b c\n");
        launch.is_supervised = false;
        assert_eq!(with_free_console(&launch), launch.argv);
        assert!(extra_capabilities(&launch, &host).contains(&"SYS_ADMIN"));
    }

    #[test]
    fn images_start_the_init_by_the_trees_shell() {
        let init = || vec!["/sbin/init".to_owned(), "a b".to_owned()];
        assert_eq!(image_argv(init(), &[]), init());
        assert_eq!(image_argv(init(), &[CgroupVersion::V1Systemd]), init());
        let argv = image_argv(init(), &[CgroupVersion::V2, CgroupVersion::V1Systemd]);
        assert_eq!(argv[3..], init());
        // By which Podman takes it for a systemd.
        assert!(argv[2].ends_with("/systemd"));
        // The shell has no objection, and the arguments arrive.
        let argv = image_argv(
            ["/bin/echo", "a b", "c"].map(str::to_owned).to_vec(),
            &[CgroupVersion::V2],
        );
        let output = std::process::Command::new(&argv[0])
            .args(&argv[1..2])
            .arg(argv[2].replace("unshare -C", "false"))
            .args(&argv[3..])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b c\n");
    }
}
