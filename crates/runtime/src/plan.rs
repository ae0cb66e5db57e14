//! From facts and needs to a boot spec. Pure, but for one probe that the caller makes (can IDs be mapped here?).

mod engine;

pub use engine::{EngineRequest, engine_env, plan_for_engine};

use crate::policy;
use repot_model::{
    BindMount, BootSpec, CgroupPlan, CgroupVersion, Decision, Facts, Getty, IdMap, Limits,
    MachineName, Needs, Network, Overlay, Pid1, Policy, ReadySign, RootPlan, SPEC_VERSION,
    Terminal, TerminalRole, TmpfsMount,
};
use std::path::PathBuf;

/// What the user asked for, and what the host is able to give.
#[derive(Debug, Clone)]
pub struct Request {
    /// The machine's name; also its host name.
    pub name: MachineName,
    /// 32 hexadecimal digits, made with the machine; used unless the tree has a machine-id.
    pub uuid: String,
    /// The tree.
    pub base: PathBuf,
    /// Layers over it.
    pub layers: Vec<PathBuf>,
    /// What takes the writes.
    pub overlay: Overlay,
    /// Path of its cgroup below the root of each hierarchy. `None`: the caller may make none.
    pub cgroup_path: Option<String>,
    /// The ID mapping that is possible.
    pub idmap: IdMap,
    /// How much of the host it may use.
    pub limits: Limits,
    /// Files that stand for those of `/proc` (see [`BootSpec::lxcfs`]).
    pub lxcfs: Vec<PathBuf>,
    /// The network wanted.
    pub network: Network,
    /// Binds wanted.
    pub binds: Vec<BindMount>,
    /// tmpfs mounts wanted.
    pub tmpfs: Vec<TmpfsMount>,
    /// What it may do to its host.
    pub policy: Policy,
    /// Variables wanted.
    pub env: Vec<(String, String)>,
    /// `TERM` for the console.
    pub term: String,
}

/// What runs in the machine.
#[derive(Debug, Clone)]
pub enum Payload {
    /// The distribution's init, with its needs.
    Init {
        /// What the init wants.
        needs: Box<Needs>,
        /// `--init PATH ARGS`: this instead of what the needs say.
        argv: Option<Vec<String>>,
    },
    /// A command below the stub init.
    Command {
        /// The command.
        argv: Vec<String>,
        /// Whether it gets a terminal.
        terminal: bool,
    },
}

/// The terminals that every machine has besides those that its gettys ask for.
const IDLE: &[&str] = &["tty2", "tty3", "tty4", "tty5", "tty6"];

/// Decides everything. Each decision is in the spec with its reason.
pub fn plan(request: Request, facts: &Facts, payload: Payload) -> BootSpec {
    let mut decisions = Vec::new();
    let mut decide = |what: String, why: String| decisions.push(Decision { what, why });
    let gettys = facts
        .init
        .as_ref()
        .map_or(&[][..], |init| init.gettys.as_slice());
    let uuid = facts
        .machine_id
        .clone()
        .unwrap_or_else(|| request.uuid.clone());
    let mut env: Vec<(String, String)> = Vec::new();
    let (pid1, argv, needs, terminals, console_login) = match payload {
        Payload::Init { needs, argv } => {
            let argv = argv.unwrap_or_else(|| needs.argv.clone());
            decide(format!("PID 1: {}", argv.join(" ")), pid1_reason(facts));
            let (terminals, served, why) = terminals(gettys);
            decide(format!("terminals: {}", describe(&terminals)), why);
            if !served {
                decide(
                    "console login: repot's own, if nothing else answers".into(),
                    "nothing in the tree runs a getty on a terminal that the user can see".into(),
                );
            }
            init_env(&needs, &uuid, &request, &mut env);
            (Pid1::Program, argv, Some(*needs), terminals, !served)
        }
        Payload::Command { argv, terminal } => {
            decide(
                format!("PID 1: stub init, which runs {}", argv.join(" ")),
                "a command is no init: somebody must reap orphans".into(),
            );
            let terminals = if terminal {
                vec![console(&["console", "tty1"])]
            } else {
                Vec::new()
            };
            env.extend([
                ("PATH".into(), crate::stub::DEFAULT_PATH.into()),
                ("HOME".into(), "/root".into()),
                ("USER".into(), "root".into()),
            ]);
            env.extend([
                ("LOGNAME".into(), "root".into()),
                ("TERM".into(), request.term.clone()),
                ("container".into(), "repot".into()),
            ]);
            (Pid1::Stub, argv, None, terminals, false)
        }
    };
    env.retain(|(name, _)| !request.env.iter().any(|(wanted, _)| wanted == name));
    env.extend(request.env.iter().cloned());
    let cgroup = cgroup(request.cgroup_path, needs.as_ref(), &mut decide);
    decide(
        format!("user IDs: {}", describe_idmap(&request.idmap)),
        idmap_reason(&request.idmap),
    );
    decide(
        format!("limits: {}", request.limits),
        limits_reason(&request.limits),
    );
    let (figures, why) = figures(&request.lxcfs);
    decide(figures, why.to_owned());
    decide(
        format!("writes: {}", describe_overlay(&request.overlay)),
        "the tree itself is changed only when asked (--in-place)".into(),
    );
    let granted = policy::grant(&request.policy, &request.idmap);
    decisions.extend(granted.decisions);
    BootSpec {
        version: SPEC_VERSION,
        hostname: request.name.as_str().to_owned(),
        uuid,
        root: RootPlan {
            base: request.base,
            layers: request.layers,
            overlay: request.overlay,
        },
        idmap: request.idmap,
        pid1,
        argv,
        env,
        cwd: "/".into(),
        terminals,
        cgroup,
        limits: request.limits,
        lxcfs: request.lxcfs,
        network: request.network,
        binds: request.binds,
        tmpfs: request.tmpfs,
        capabilities: granted.capabilities,
        seccomp: granted.seccomp,
        devices: request.policy.devices,
        bare_proc: granted.bare_proc,
        needs,
        hand_over: None,
        console_login,
        decisions,
        name: request.name,
    }
}

fn pid1_reason(facts: &Facts) -> String {
    let Some(init) = &facts.init else {
        return "named by the user".into();
    };
    let version = init
        .version
        .as_ref()
        .map(|version| format!(" {version}"))
        .unwrap_or_default();
    format!("{}{version}", init.name)
}

/// The kernel gives its first program HOME and TERM (init/main.c); containers add `container` and `container_uuid`
/// (systemd, Container Interface, "Environment Variables").
fn init_env(needs: &Needs, uuid: &str, request: &Request, env: &mut Vec<(String, String)>) {
    env.push(("HOME".into(), "/".into()));
    env.push(("TERM".into(), request.term.clone()));
    env.push(("PATH".into(), crate::stub::DEFAULT_PATH.into()));
    if let Some(value) = needs.container.first() {
        env.push(("container".into(), value.clone()));
        env.push(("container_uuid".into(), uuid.to_owned()));
    }
    if needs.ready == ReadySign::Notify {
        env.push(("NOTIFY_SOCKET".into(), "/run/host/notify".into()));
    }
    env.extend(needs.env.iter().cloned());
}

fn console(names: &[&str]) -> Terminal {
    Terminal {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        role: TerminalRole::Console,
    }
}

/// Which ptys the machine has, whether a getty of the tree shows up on the first, and why so.
///
/// As on a real machine, `tty1` is the console, so that a getty there shows up where the user looks. Where the tree has
/// gettys on both they would eat each other's keys and get a pty each. A tree whose only gettys are elsewhere (serial
/// lines) has its first one on the console.
fn terminals(gettys: &[Getty]) -> (Vec<Terminal>, bool, String) {
    let on = |tty: &str| gettys.iter().any(|getty| getty.tty == tty);
    // Names that the init allocates or that are no device names of ours.
    let usable = |tty: &&str| {
        !tty.is_empty() && !tty.starts_with("pts/") && !tty.contains("..") && !tty.starts_with('/')
    };
    let other = gettys
        .iter()
        .map(|getty| getty.tty.as_str())
        .find(|tty| usable(tty) && *tty != "console" && *tty != "tty1");
    let (mut terminals, served, why) = match (on("console"), on("tty1")) {
        (true, true) => (
            vec![console(&["console"]), idle("tty1")],
            true,
            "the tree has gettys on both console and tty1: one pty each".to_owned(),
        ),
        (true, false) => (
            vec![console(&["console", "tty1"])],
            true,
            "the tree has a getty on the console".to_owned(),
        ),
        (false, true) => (
            vec![console(&["console", "tty1"])],
            true,
            "the tree has a getty on tty1, which is the console too".to_owned(),
        ),
        (false, false) => match other {
            Some(tty) if IDLE.contains(&tty) || !tty.starts_with("pts") => (
                vec![console(&["console", "tty1", tty])],
                true,
                format!("the tree's first getty is on {tty}, which is the console too"),
            ),
            _ => (
                vec![console(&["console", "tty1"])],
                false,
                "the tree has no getty".to_owned(),
            ),
        },
    };
    let taken: Vec<String> = terminals
        .iter()
        .flat_map(|terminal| terminal.names.clone())
        .collect();
    // Idle lines, so that gettys there neither fail nor respawn for ever: tty2 to tty6, and whatever else the tree names.
    let mut names: Vec<&str> = IDLE.to_vec();
    names.extend(gettys.iter().map(|getty| getty.tty.as_str()).filter(usable));
    for name in names {
        if !taken.iter().any(|taken| taken == name)
            && !terminals
                .iter()
                .any(|terminal| terminal.names.iter().any(|known| known == name))
        {
            terminals.push(idle(name));
        }
    }
    (terminals, served, why)
}

fn idle(name: &str) -> Terminal {
    Terminal {
        names: vec![name.to_owned()],
        role: TerminalRole::Idle,
    }
}

fn describe(terminals: &[Terminal]) -> String {
    terminals
        .iter()
        .map(|terminal| terminal.names.join("="))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The layout of cgroups that a machine gets, and whether its init insists on one of its own.
pub fn cgroup_wish(needs: Option<&Needs>) -> (CgroupVersion, bool) {
    let wanted = needs.map_or(&[][..], |needs| needs.cgroups.as_slice());
    let version = wanted.first().copied().unwrap_or(CgroupVersion::V2);
    (version, !wanted.is_empty())
}

fn cgroup(
    path: Option<String>,
    needs: Option<&Needs>,
    decide: &mut impl FnMut(String, String),
) -> CgroupPlan {
    let (version, insists) = cgroup_wish(needs);
    let (what, why) = match version {
        _ if path.is_none() => (
            "the caller's, read-only",
            "no cgroup was delegated to the caller, and this init does without",
        ),
        CgroupVersion::V2 if !insists => ("cgroup2 of its own", "this init does not care"),
        CgroupVersion::V2 => (
            "cgroup2 of its own",
            "this init uses cgroup2; the host's own layout does not matter",
        ),
        CgroupVersion::V1Systemd => (
            "the named v1 hierarchy",
            "systemd before 230 knows no cgroup2",
        ),
    };
    decide(format!("cgroups: {what}"), why.to_owned());
    CgroupPlan { version, path }
}

fn describe_idmap(idmap: &IdMap) -> String {
    match idmap {
        IdMap::Shifted { base, size } => format!(
            "user namespace, 0-{} are {base}-{} on the host",
            size - 1,
            base + (size - 1)
        ),
        IdMap::Identity { size } => {
            format!("user namespace, 0-{} unchanged", size.saturating_sub(1))
        }
        IdMap::Host { .. } => "those of the host".into(),
    }
}

fn idmap_reason(idmap: &IdMap) -> String {
    match idmap {
        IdMap::Shifted { .. } => {
            "root of the machine is nobody on the host; files keep their real IDs on disk".into()
        }
        IdMap::Identity { .. } => {
            "the caller is root of a user namespace only, and passes its IDs on".into()
        }
        IdMap::Host { reason } => reason.clone(),
    }
}

fn limits_reason(limits: &Limits) -> String {
    match (limits.pids, limits.pids_is_default) {
        (Some(_), true) => {
            "the number of processes is repot's default, against programs that start others without end; the rest as asked for"
        }
        (Some(_), false) => "as asked for",
        (None, _) => "as asked for; it may start as many processes as the host can have",
    }
    .into()
}

/// Whose memory and processors the machine sees in `/proc`.
fn figures(lxcfs: &[PathBuf]) -> (String, &'static str) {
    let names: Vec<_> = lxcfs
        .iter()
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy())
        .collect();
    if names.is_empty() {
        return (
            "figures in /proc: those of the host".into(),
            "no lxcfs is mounted, which would show the machine's own share",
        );
    }
    (
        format!(
            "figures in /proc: the machine's share ({})",
            names.join(", ")
        ),
        "lxcfs is mounted on the host",
    )
}

fn describe_overlay(overlay: &Overlay) -> String {
    match overlay {
        Overlay::Kept { dir } => format!("to {}", dir.display()),
        Overlay::Ephemeral => "to memory, forgotten when the machine stops".into(),
        Overlay::InPlace => "to the tree itself".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::{Evidence, GettyKind};

    fn on(ttys: &[&str]) -> Vec<Getty> {
        let evidence = Evidence {
            path: "/etc/inittab".into(),
            line: Some(1),
            seen: String::new(),
        };
        ttys.iter()
            .map(|tty| Getty {
                tty: (*tty).to_owned(),
                kind: GettyKind::Login,
                evidence: evidence.clone(),
            })
            .collect()
    }

    #[test]
    fn the_console_is_where_the_getty_is() {
        for (ttys, first, served) in [
            (&["tty1", "tty2"][..], &["console", "tty1"][..], true),
            (&["console"], &["console", "tty1"], true),
            (&["console", "tty1"], &["console"], true),
            (&["ttyS0"], &["console", "tty1", "ttyS0"], true),
            (&["tty2"], &["console", "tty1", "tty2"], true),
            (&["pts/0"], &["console", "tty1"], false),
            (&["../../etc/passwd"], &["console", "tty1"], false),
            (&[], &["console", "tty1"], false),
        ] {
            let (terminals, is_served, _) = terminals(&on(ttys));
            assert_eq!(terminals[0].names, first, "{ttys:?}");
            assert_eq!(is_served, served, "{ttys:?}");
            let mut names: Vec<_> = terminals
                .iter()
                .flat_map(|terminal| &terminal.names)
                .collect();
            names.sort();
            names.dedup();
            assert_eq!(
                names.len(),
                terminals
                    .iter()
                    .map(|terminal| terminal.names.len())
                    .sum::<usize>(),
                "{ttys:?}"
            );
        }
    }
}
