//! `repot run`: a command in a tree below a stub init, in the foreground.

use crate::args::Run;
use crate::handing::Elsewhere;
use crate::machines::{self, Mapping, Purpose, Start};
use crate::mending::Mending;
use crate::{emulation, engines, handing, output, policy, shell_mode, sources};
use anyhow::bail;
use repot_model::{BootSpec, Pid1};
use repot_runtime::plan::Payload;
use repot_runtime::step::{Inputs, steps};
use repot_runtime::{Dirs, Error, Ran, RunError, out_of_memory, registry, run_in_foreground};
use serde::Serialize;
use std::io::IsTerminal;

pub(crate) fn run(mut args: Run) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let tree = sources::resolve(&dirs, &args.source)?;
    // A machine of that name, or none that anybody will ask for again.
    let is_kept = args.name.is_some() || tree.machine.is_some() || args.writes.in_place;
    args.writes.ephemeral |= !is_kept;
    // Several may run at once: a name of its own for each.
    let own_name = if is_kept {
        None
    } else {
        Some(machines::throw_away_name(&tree.default_name)?)
    };
    let name = args.name.as_ref().or(own_name.as_ref());
    let mut candidate = machines::candidate(&dirs, &tree, name, &args.writes, Some("native"))?;
    let is_changed = candidate.take_wishes(&args.environment)?;
    let record = &candidate.record;
    let (root, facts) = machines::inspect(&record.base, Purpose::Command)?;
    let emulator = emulation::check(&root, &facts)?;
    let mut argv = std::mem::take(&mut args.command);
    if argv.is_empty() {
        argv.push(shell(&root, facts.root.shell.as_deref())?);
    }
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let payload = Payload::Command { argv, terminal };
    let mending = Mending::nothing();
    let start = Start {
        dirs: &dirs,
        record,
        root: &root,
        facts: &facts,
        writes: &args.writes,
        environment: &args.environment,
        payload,
        mending: &mending,
        mapping: Mapping::Tried,
        emulator: emulator.as_ref(),
    };
    let pid1 = if args.as_pid1 {
        Pid1::Program
    } else {
        Pid1::Stub
    };
    if let Some(engine) = args.on.as_deref().filter(|engine| *engine != "native") {
        return run_on(engine, &args, start, is_changed && is_kept);
    }
    if args.dry_run {
        let mut spec = machines::spec(start, None)?;
        spec.pid1 = pid1;
        return show(&dirs, &spec, args.json);
    }
    let mut lock = registry::lock(&dirs, &record.name)?;
    // No trial of the ID mapping, which would take as long as a tenth of the whole: only where the start fails.
    let assumed = Start {
        mapping: Mapping::Assumed,
        ..start.clone()
    };
    let mut spec = machines::spec(assumed, Some(&mut lock))?;
    spec.pid1 = pid1;
    if is_changed && (args.name.is_some() || tree.machine.is_some()) {
        registry::write_record(&dirs, record)?;
    }
    let warn = |spec: &BootSpec| {
        if let Some(warning) = policy::warning(record, &spec.idmap) {
            output::note(warning);
        }
    };
    warn(&spec);
    match run_in_foreground(&dirs, &spec, &lock) {
        Ok(ran) => Ok(ended(&spec, ran)),
        Err(RunError::NotStarted(error)) => {
            let mut tried = machines::spec(start, Some(&mut lock))?;
            if tried.idmap == spec.idmap {
                return Err(error.into());
            }
            tried.pid1 = pid1;
            warn(&tried);
            let ran = run_in_foreground(&dirs, &tried, &lock).map_err(Error::from)?;
            Ok(ended(&tried, ran))
        }
        Err(error) => Err(Error::from(error).into()),
    }
}

/// The same in another engine.
fn run_on(engine: &str, args: &Run, start: Start<'_>, is_record: bool) -> anyhow::Result<u8> {
    let (dirs, record) = (start.dirs, start.record);
    let elsewhere = Elsewhere::new(engines::other(engine)?)?;
    if args.dry_run {
        return handing::show(&shell_mode::spec(start, &elsewhere, false)?, args.json);
    }
    let lock = registry::lock(dirs, &record.name)?;
    let spec = shell_mode::spec(start, &elsewhere, true)?;
    if is_record {
        registry::write_record(dirs, record)?;
    }
    let ran = run_in_foreground(dirs, &spec, &lock).map_err(Error::from)?;
    Ok(ended(&spec, ran))
}

/// The exit status; said is what it may be due to.
fn ended(spec: &BootSpec, ran: Ran) -> u8 {
    if ran.oom_kills > 0 {
        let told = out_of_memory(ran.oom_kills, &spec.limits);
        output::note(format!("repot: {told}"));
    }
    ran.status
}

/// The shell of root, or one that there is.
pub(crate) fn shell(
    root: &repot_rootfs::RootRead,
    of_root: Option<&str>,
) -> anyhow::Result<String> {
    let candidates = of_root.into_iter().chain([
        "/bin/bash",
        "/bin/sh",
        "/run/current-system/profile/bin/bash",
    ]);
    for candidate in candidates {
        if root.is_executable(candidate) {
            return Ok(candidate.to_owned());
        }
    }
    bail!("the tree has no shell that could be executed: name a command")
}

/// `--dry-run`: what would be done, and why.
pub(crate) fn show(dirs: &Dirs, spec: &BootSpec, json: bool) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        spec: &'a BootSpec,
        steps: Vec<String>,
    }
    let inputs = Inputs {
        staging: dirs.running(&spec.name),
        ..Inputs::default()
    };
    let steps: Vec<String> = steps(spec, &inputs)?
        .iter()
        .map(ToString::to_string)
        .collect();
    if json {
        output::json(&Document {
            version: output::JSON_VERSION,
            spec,
            steps,
        })?;
        return Ok(0);
    }
    output::line(format!("machine {}", spec.name));
    for decision in &spec.decisions {
        output::line(format!("  {}\n      {}", decision.what, decision.why));
    }
    output::line("steps of its first process");
    for (number, step) in steps.iter().enumerate() {
        output::line(format!("  {number:>2} {step}"));
    }
    Ok(0)
}
