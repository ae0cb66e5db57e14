//! Machines in other container systems: from a tree to a plan for handing it over. What of that is not the supervisor's part is in
//! `set_up`.

mod set_up;

pub(crate) use set_up::set_up;

use crate::args::{Environment, NetworkArg, UserNamespace};
use crate::engines::{Chosen, on_network};
use crate::machines::{self, Start};
use crate::{emulation, limits, output, sessions};
use anyhow::{Context, anyhow, bail};
use repot_engines::{Discovery, Engine, Host, Launch, Usable};
use repot_model::{
    BootSpec, Delivery, Facts, GettyKind, HintExt, MachineName, MachineRecord, Needs, Offers,
    Overlay, Policy, Resolver, StopAction,
};
use repot_runtime::plan::{EngineRequest, Payload, cgroup_wish, engine_env, plan_for_engine};
use repot_runtime::{Dirs, registry};
use serde::Serialize;
use std::path::PathBuf;

/// An engine on this host, and what it gives.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) engine: &'static dyn Engine,
    pub(crate) host: Host,
    pub(crate) found: Discovery,
    pub(crate) offers: Offers,
    /// Whether it is started as its own documentation has it, without anything that repot knows.
    pub(crate) is_unaided: bool,
    /// Whether somebody types what is planned, so that no supervisor of repot's will be there.
    pub(crate) is_by_hand: bool,
}

/// The engine that a machine is to run in: the one that the user names, else the one that the machine was made for. `None`: the
/// native runtime.
pub(crate) fn choose(
    wish: Option<&str>,
    record: &MachineRecord,
    is_new: bool,
) -> anyhow::Result<Option<Elsewhere>> {
    let made_for = engine_of(record);
    let name = match wish {
        None if is_new => "native",
        None => made_for,
        Some(name) if is_new || name == made_for => name,
        Some(name) => {
            return Err(anyhow!(
                "{} was made for {made_for}, not for {name}",
                record.name
            ))
            .hint(format!(
                "another --name makes another machine of the same tree; `repot rm {}` forgets this one",
                record.name
            ))
            .map_err(Into::into);
        }
    };
    let Chosen::Other(engine) = Chosen::named(name)? else {
        return Ok(None);
    };
    Elsewhere::new(engine).map(Some)
}

/// The engine that a machine was made for.
pub(crate) fn engine_of(record: &MachineRecord) -> &str {
    let plan = record.hand_over.as_ref();
    plan.map_or("native", |plan| plan.engine.0.as_str())
}

/// Whether an engine keeps what a machine writes, in a container that was made for it once.
pub(crate) fn keeps_writes(record: &MachineRecord) -> bool {
    let plan = record.hand_over.as_ref();
    plan.is_some_and(|plan| matches!(plan.delivery, Delivery::Image { .. }))
}

impl Elsewhere {
    /// An engine that can be used on this host.
    pub(crate) fn new(engine: &'static dyn Engine) -> anyhow::Result<Self> {
        let elsewhere = Self::imagined(engine);
        let id = engine.id();
        match &elsewhere.found.state {
            Usable::Yes => {}
            Usable::Missing { hint } => {
                return Err(anyhow!("{id} is not installed here"))
                    .hint(hint.clone())
                    .map_err(Into::into);
            }
            Usable::No { why, hint } => {
                return Err(anyhow!("{id} cannot be used here: {why}"))
                    .hint(hint.clone())
                    .map_err(Into::into);
            }
        }
        Ok(elsewhere)
    }

    /// What it gives to a machine that repot boots there: with the host's network, the host's resolv.conf is laid over the tree.
    pub(crate) fn offers_of_boot(&self, network: NetworkArg) -> Offers {
        let mut offers = on_network(self.offers.clone(), network);
        if offers.shares_network {
            offers.resolver = Resolver::Repot;
        }
        offers
    }

    /// Where files are that the engine wants, between boots.
    pub(crate) fn dir(&self, dirs: &Dirs, name: &MachineName) -> PathBuf {
        match self.is_by_hand {
            true => dirs.by_hand(name),
            false => dirs.machine(name),
        }
    }

    /// The same while the machine runs.
    pub(crate) fn run_dir(&self, dirs: &Dirs, name: &MachineName) -> PathBuf {
        match self.is_by_hand {
            true => dirs.by_hand(name),
            false => dirs.running(name),
        }
    }

    /// The same for an engine that need not be here: to say what would be done.
    pub(crate) fn imagined(engine: &'static dyn Engine) -> Self {
        let host = Host::look();
        let found = engine.discover(&host);
        let offers = engine.offers(&host, &found);
        Self {
            engine,
            host,
            found,
            offers,
            is_unaided: false,
            is_by_hand: false,
        }
    }
}

/// Plans a start in an engine. For one that is meant, makes the directories that the plan names.
pub(crate) fn spec(
    start: Start<'_>,
    elsewhere: &Elsewhere,
    make: bool,
) -> anyhow::Result<BootSpec> {
    let Start {
        dirs,
        record,
        root,
        facts,
        writes,
        environment,
        ref payload,
        ..
    } = start;
    let Payload::Init { needs, argv } = payload else {
        bail!("only whole machines run in other engines, not single commands");
    };
    check(record, environment, elsewhere)?;
    let overlay = machines::overlay(dirs, record, writes);
    if overlay == Overlay::Ephemeral && keeps_writes(record) {
        return Err(anyhow!(
            "--ephemeral: what {} writes is kept in its container in {}, and would be lost with that",
            record.name,
            engine_of(record)
        ))
        .hint("another --name makes another machine of the same tree, which forgets its writes")
        .map_err(Into::into);
    }
    let network = machines::network(environment);
    let binds = machines::binds(environment)?;
    let tmpfs = machines::all_tmpfs(environment)?;
    let wanted = machines::variables(environment)?;
    let env = engine_env(needs, &elsewhere.offers, &sessions::term(root), &wanted);
    let argv = argv.clone().unwrap_or_else(|| needs.argv.clone());
    let hostname = environment
        .hostname
        .clone()
        .unwrap_or_else(|| record.name.to_string());
    let limits = limits::of(record)?;
    // An engine is told of those only that somebody asked for.
    let asked = record.limits.unwrap_or_default();
    let (diagnosis, picked) = start.mending.diagnose(root, facts);
    // The console's login, if a rule adds one to the tree.
    let is_added = overlay != Overlay::InPlace
        && diagnosis
            .findings
            .iter()
            .zip(&picked)
            .any(|(finding, picked)| *picked && finding.rule.0 == "console-silent");
    let launch = Launch {
        name: record.name.clone(),
        hostname: hostname.clone(),
        uuid: facts
            .machine_id
            .clone()
            .unwrap_or_else(|| record.uuid.clone()),
        argv: argv.clone(),
        env: env.clone(),
        power_off: match overlay {
            // What the rules would add to the tree is left out.
            Overlay::InPlace => power_off_signal(needs),
            Overlay::Kept { .. } | Overlay::Ephemeral => {
                diagnosis.stop_signal.or_else(|| power_off_signal(needs))
            }
        },
        patience_s: needs.power_off.patience_s,
        cgroups: needs.cgroups.clone(),
        network,
        binds: binds.clone(),
        tmpfs: tmpfs.clone(),
        limits: asked,
        // Without a shell it could not wait for its terminal.
        claims_terminal: repot_doctor::claims_terminal(facts)
            && (elsewhere.is_by_hand || root.is_executable("/bin/sh")),
        is_supervised: !elsewhere.is_by_hand,
        terminals: terminals(facts),
        cgroup: registry::cgroup_path(dirs, &record.name, cgroup_wish(Some(needs)).0),
        power_off_program: power_off_program(needs),
        dir: elsewhere.dir(dirs, &record.name),
        run: elsewhere.run_dir(dirs, &record.name),
    };
    let (engine, host, found) = (elsewhere.engine, &elsewhere.host, &elsewhere.found);
    let hand_over = if elsewhere.is_unaided {
        let unaided = engine.unaided(&launch, host, found);
        unaided
            .with_context(|| format!("{} has no obvious command that boots a tree", engine.id()))?
    } else {
        engine.hand_over(&launch, host, found)?
    };
    if matches!(hand_over.delivery, Delivery::Image { .. }) && overlay == Overlay::InPlace {
        return Err(anyhow!(
            "--in-place: {} gets an image of the tree, and writes to that",
            hand_over.engine
        ))
        .hint("nspawn and lxc run on the tree itself")
        .map_err(Into::into);
    }
    // Not before: an engine that refuses leaves nothing to be removed.
    let (layers, notes) = if elsewhere.is_unaided {
        Default::default()
    } else {
        machines::layers(&start, &overlay, make)?
    };
    if make && let Overlay::Kept { dir } = &overlay {
        machines::make_writes(dir)?;
    }
    let cgroup_path = match hand_over.stays_in_cgroup {
        true => machines::cgroup(dirs, &record.name, payload, &limits)?,
        false => None,
    };
    let mut spec = plan_for_engine(EngineRequest {
        cgroup_path,
        name: record.name.clone(),
        hostname,
        uuid: launch.uuid.clone(),
        base: record.base.clone(),
        layers,
        overlay,
        limits,
        network,
        binds,
        tmpfs,
        env,
        argv,
        needs: Some(needs.as_ref().clone()),
        hand_over,
        is_served: is_added || is_served(facts, &elsewhere.offers),
    });
    if elsewhere.is_unaided {
        // Neither asked to stop nor given a login.
        spec.needs = None;
        spec.console_login = false;
    }
    let emulation = start.emulator.map(|it| emulation::decision(it, facts));
    spec.decisions.extend(emulation);
    spec.decisions.extend(notes);
    Ok(spec)
}

/// Refuses what is said of the native runtime only.
pub(crate) fn check(
    record: &MachineRecord,
    environment: &Environment,
    elsewhere: &Elsewhere,
) -> anyhow::Result<()> {
    let engine = elsewhere.engine.id();
    let refused = if record.policy != Policy::default() {
        anyhow!(
            "what {} may do to its host is {engine}'s business: options on privileges, devices and system calls are of repot's own runtime",
            record.name
        )
    } else if environment.userns != UserNamespace::Auto {
        anyhow!("--userns: whether there is a user namespace is {engine}'s business")
    } else {
        return Ok(());
    };
    Err(refused)
        .hint("leave it out, or leave --on out: the native runtime knows it")
        .map_err(Into::into)
}

/// The signal that asks the init to power off, if one does.
pub(crate) fn power_off_signal(needs: &Needs) -> Option<repot_model::Signal> {
    needs
        .power_off
        .requests
        .iter()
        .find_map(|request| match request {
            StopAction::Signal { signal } => Some(*signal),
            StopAction::Run { .. } | StopAction::Touch { .. } => None,
        })
}

/// The program that powers off, if there is one.
fn power_off_program(needs: &Needs) -> Option<Vec<String>> {
    needs
        .power_off
        .requests
        .iter()
        .find_map(|request| match request {
            StopAction::Run { argv } => Some(argv.clone()),
            StopAction::Signal { .. } | StopAction::Touch { .. } => None,
        })
}

/// Names of terminals that the tree's gettys listen on.
fn terminals(facts: &Facts) -> Vec<String> {
    let gettys = facts.init.iter().flat_map(|init| &init.gettys);
    let mut names: Vec<String> = gettys.map(|getty| getty.tty.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a getty of the tree answers where the user of that engine looks.
fn is_served(facts: &Facts, offers: &Offers) -> bool {
    let console = &offers.console;
    let gettys = facts.init.iter().flat_map(|init| &init.gettys);
    gettys.into_iter().any(|getty| {
        let is_there = getty.tty == console.device
            || getty.tty == console.login_name
            || (offers.tty1_is_console && getty.tty == "tty1");
        is_there && getty.kind == GettyKind::Login
    })
}

/// How a machine would be handed over, as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    spec: &'a BootSpec,
}

/// `--dry-run`: what would be done, and why.
pub(crate) fn show(spec: &BootSpec, json: bool) -> anyhow::Result<u8> {
    if json {
        output::json(&Document {
            version: output::JSON_VERSION,
            spec,
        })?;
        return Ok(0);
    }
    output::line(format!("machine {}", spec.name));
    for decision in &spec.decisions {
        output::line(format!("  {}\n      {}", decision.what, decision.why));
    }
    let Some(plan) = &spec.hand_over else {
        return Ok(0);
    };
    for file in &plan.files {
        output::line(format!("file {} ({:04o})", file.path.display(), file.mode));
        file.text
            .lines()
            .for_each(|line| output::line(format!("  {line}")));
    }
    match &plan.delivery {
        Delivery::Overlay { at } => {
            output::line(format!(
                "tree, mounted for {} only: {}",
                plan.engine,
                at.display()
            ));
        }
        Delivery::Image { format, file } => output::line(format!(
            "image, removed once it is loaded: {} ({format:?})",
            file.display()
        )),
    }
    if !plan.setup.is_empty() {
        output::line("commands before the first start");
        plan.setup
            .iter()
            .for_each(|command| output::line(format!("  {command}")));
    }
    output::line(format!("command of each start\n  {}", plan.start));
    if !plan.remove.is_empty() {
        output::line("commands of `repot rm`");
        plan.remove
            .iter()
            .for_each(|command| output::line(format!("  {command}")));
    }
    Ok(0)
}
