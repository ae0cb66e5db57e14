//! The boot spec of a machine that another container system runs: what the engine decides by itself stays empty.

use repot_model::{
    BindMount, BootSpec, CgroupPlan, Decision, HandOver, IdMap, Limits, MachineName, Needs,
    Network, Offers, Overlay, Pid1, RootPlan, SPEC_VERSION, Seccomp, Terminal, TerminalRole,
    TmpfsMount,
};
use std::path::PathBuf;

/// What was asked for and decided.
#[derive(Debug, Clone)]
pub struct EngineRequest {
    /// The machine's name.
    pub name: MachineName,
    /// Its host name.
    pub hostname: String,
    /// 32 hexadecimal digits.
    pub uuid: String,
    /// The tree.
    pub base: PathBuf,
    /// Layers over it.
    pub layers: Vec<PathBuf>,
    /// What takes the writes, where that is not the engine's business.
    pub overlay: Overlay,
    /// Path of its cgroup below the root of each hierarchy. `None`: that is the engine's business.
    pub cgroup_path: Option<String>,
    /// How much of the host it may use.
    pub limits: Limits,
    /// The network wanted.
    pub network: Network,
    /// Binds wanted.
    pub binds: Vec<BindMount>,
    /// tmpfs mounts wanted.
    pub tmpfs: Vec<TmpfsMount>,
    /// Variables for PID 1.
    pub env: Vec<(String, String)>,
    /// argv of PID 1.
    pub argv: Vec<String>,
    /// What the init wants. `None`: a single command is run.
    pub needs: Option<Needs>,
    /// How it is handed over.
    pub hand_over: HandOver,
    /// Whether a getty of the tree answers on the engine's console.
    pub is_served: bool,
}

/// Variables for PID 1 in an engine: beside what was asked for, the init's own, and those that tell it where it is unless the
/// engine does.
pub fn engine_env(
    needs: &Needs,
    offers: &Offers,
    term: &str,
    wanted: &[(String, String)],
) -> Vec<(String, String)> {
    if !offers.takes_env {
        return Vec::new();
    }
    let mut env = vec![
        ("TERM".to_owned(), term.to_owned()),
        ("PATH".to_owned(), crate::stub::DEFAULT_PATH.to_owned()),
    ];
    // An init that wants none cannot be helped where the engine sets one.
    let is_set_well = offers
        .container
        .as_ref()
        .is_some_and(|set| needs.container.contains(set) || takes_any(needs));
    if let (Some(value), false) = (needs.container.first(), is_set_well) {
        env.push(("container".to_owned(), value.clone()));
    }
    env.extend(needs.env.iter().cloned());
    env.retain(|(name, _)| !wanted.iter().any(|(other, _)| other == name));
    env.extend(wanted.iter().cloned());
    env
}

/// Whether the init takes every value: it is content with one that nothing but repot sets.
fn takes_any(needs: &Needs) -> bool {
    needs.container.iter().any(|value| value == "repot")
}

/// Decides what is repot's to decide.
pub fn plan_for_engine(request: EngineRequest) -> BootSpec {
    let engine = request.hand_over.engine.clone();
    let mut decisions = Vec::new();
    let mut decide = |what: String, why: &str| {
        decisions.push(Decision {
            what,
            why: why.to_owned(),
        })
    };
    match request.needs {
        Some(_) => decide(
            format!("PID 1: {}", request.argv.join(" ")),
            "the init of the tree",
        ),
        None => decide(
            format!("command: {}", request.argv.join(" ")),
            "as given, or the shell of root",
        ),
    }
    decide(
        format!("runs in: {engine}"),
        "asked for with --on; terminals, cgroups, user IDs and system calls are that engine's business",
    );
    if !request.is_served {
        decide(
            "console login: repot's own, if nothing else answers".into(),
            "nothing in the tree runs a getty on the engine's console",
        );
    }
    BootSpec {
        version: SPEC_VERSION,
        name: request.name,
        hostname: request.hostname,
        uuid: request.uuid,
        root: RootPlan {
            base: request.base,
            layers: request.layers,
            overlay: request.overlay,
        },
        idmap: IdMap::Host {
            reason: format!("{engine} maps IDs by itself, if at all"),
        },
        pid1: Pid1::Program,
        argv: request.argv,
        env: request.env,
        cwd: "/".into(),
        terminals: terminals(&request.hand_over),
        cgroup: CgroupPlan {
            version: super::cgroup_wish(request.needs.as_ref()).0,
            path: request.cgroup_path,
        },
        limits: request.limits,
        lxcfs: Vec::new(),
        network: request.network,
        binds: request.binds,
        tmpfs: request.tmpfs,
        capabilities: Vec::new(),
        seccomp: Seccomp::Unconfined,
        devices: Vec::new(),
        bare_proc: true,
        needs: request.needs,
        hand_over: Some(request.hand_over),
        console_login: !request.is_served,
        decisions,
    }
}

/// The console, and where that is not the terminal of the engine's program, also what the program says.
fn terminals(plan: &HandOver) -> Vec<Terminal> {
    let console = Terminal {
        names: vec!["console".into()],
        role: TerminalRole::Console,
    };
    let program = plan.console.is_some().then(|| Terminal {
        names: Vec::new(),
        role: TerminalRole::Console,
    });
    std::iter::once(console).chain(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::{
        EngineId, OfferedTerminal, ProgramOffer, ReadySign, Resolver, StopOffer, StopProtocol,
    };

    fn needs(container: &[&str]) -> Needs {
        let protocol = StopProtocol {
            requests: Vec::new(),
            patience_s: 1,
            source: String::new(),
        };
        Needs {
            argv: vec!["/sbin/init".into()],
            env: vec![("OF_THE_INIT".into(), "1".into())],
            container: container.iter().map(|value| (*value).to_owned()).collect(),
            cgroups: Vec::new(),
            power_off: protocol.clone(),
            reboot: protocol,
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    fn offers(container: Option<&str>) -> Offers {
        Offers {
            engine: EngineId("x".into()),
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
            cgroups: Vec::new(),
            capabilities: Vec::new(),
            stop: StopOffer::AnySignal,
            mounts: Vec::new(),
            demands: Vec::new(),
            ids: 65536,
            raises_limits: true,
            sets_loginuid: true,
            keyrings: repot_model::Keyrings::Given,
            sys: repot_model::Sys::ReadOnly,
            interfaces: Vec::new(),
            shares_network: false,
            resolver: Resolver::Machine,
            unprivileged: true,
            emulators: repot_model::Emulators::NotMounted,
        }
    }

    #[test]
    fn an_init_learns_that_it_is_in_a_container() {
        let value = |wanted: &[&str], set: Option<&str>| {
            let env = engine_env(&needs(wanted), &offers(set), "xterm", &[]);
            env.into_iter()
                .find(|(name, _)| name == "container")
                .map(|(_, value)| value)
        };
        assert_eq!(value(&["repot"], None).as_deref(), Some("repot"));
        assert_eq!(value(&["repot"], Some("lxc")), None);
        assert_eq!(value(&["lxc", "docker"], Some("docker")), None);
        assert_eq!(value(&["lxc"], Some("podman")).as_deref(), Some("lxc"));
        assert_eq!(value(&[], Some("podman")), None);
    }

    #[test]
    fn what_the_user_wants_comes_last() {
        let wanted = [("TERM".to_owned(), "vt100".to_owned())];
        let env = engine_env(&needs(&[]), &offers(None), "xterm", &wanted);
        let terms: Vec<_> = env.iter().filter(|(name, _)| name == "TERM").collect();
        assert_eq!(terms, [&wanted[0]]);
        assert!(env.iter().any(|(name, _)| name == "OF_THE_INIT"));
        let mut offers = offers(None);
        offers.takes_env = false;
        assert!(engine_env(&needs(&[]), &offers, "xterm", &wanted).is_empty());
    }
}
