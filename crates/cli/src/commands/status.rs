//! `repot status`: one machine, with what was decided for it and what it uses.

use crate::args::Status;
use crate::commands::boot;
use crate::{output, sessions};
use repot_model::{Bytes, Cpus, HandOver, HintExt, MachineRecord, RuntimeState};
use repot_runtime::{Dirs, Usage, disk_usage, registry, usage};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    record: Option<MachineRecord>,
    running: Option<RuntimeState>,
    usage: Option<Usage>,
    last_run: Option<registry::LastRun>,
}

impl Document {
    /// How it was handed to another container system, if it was.
    fn engine(&self) -> Option<&HandOver> {
        match &self.running {
            Some(state) => state.spec.hand_over.as_ref(),
            None => self.record.as_ref()?.hand_over.as_ref(),
        }
    }
}

pub(crate) fn run(args: &Status) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let name = &args.name;
    if registry::foreign(&dirs, name).is_some() {
        sessions::state(&dirs, name)?;
    }
    let record = registry::record(&dirs, name)?;
    let running = registry::running(&dirs, name);
    if running.is_none() {
        registry::collect_orphan(&dirs, name);
    }
    if record.is_none() && running.is_none() {
        return Err(repot_runtime::Error::NoSuchMachine(name.clone()))
            .hint("`repot list` shows what there is")
            .map_err(Into::into);
    }
    let usage = running.as_ref().map(|state| Usage {
        disk_bytes: disk_usage(&state.spec),
        ..usage(&state.spec)
    });
    let document = Document {
        version: output::JSON_VERSION,
        record,
        running,
        usage,
        last_run: registry::last_run(&dirs, name),
    };
    if args.json {
        output::json(&document)?;
    } else {
        show(name.as_str(), &document);
    }
    Ok(0)
}

/// What it uses, of what it may use.
fn use_rows(usage: &Usage, state: &RuntimeState, row: &mut impl FnMut(&str, String)) {
    let counted =
        |value: Option<String>| value.unwrap_or_else(|| "not counted on this host".into());
    let bytes = |value: Option<u64>| value.map(|bytes| Bytes(bytes).to_string());
    let limits = &state.spec.limits;
    let memory = counted(bytes(usage.memory_bytes));
    row(
        "memory",
        output::of_limit(memory, limits.memory_bytes.map(Bytes)),
    );
    if state.oom_kills > 0 {
        row("out of memory", killed(state.oom_kills));
    }
    let processes = counted(usage.processes.map(|count| count.to_string()));
    row("processes", output::of_limit(processes, limits.pids));
    let time = counted(usage.cpu_us.map(output::cpu_time));
    row(
        "CPU time",
        match limits.cpus_milli {
            Some(milli) => format!("{time}, {} CPUs at most", Cpus(milli)),
            None => time,
        },
    );
    if let Some(disk) = bytes(usage.disk_bytes) {
        row("disk", format!("{disk} of its writes"));
    }
    if let Some((read, written)) = bytes(usage.io_read_bytes).zip(bytes(usage.io_write_bytes)) {
        row("I/O", format!("{read} read, {written} written"));
    }
}

/// How often it ran out of memory.
fn killed(oom_kills: u64) -> String {
    let noun = if oom_kills == 1 {
        "process"
    } else {
        "processes"
    };
    format!("{oom_kills} {noun} killed")
}

fn show(name: &str, document: &Document) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |label: &str, value: String| rows.push(vec![format!("{label}:"), value]);
    match &document.running {
        None => {
            row(name, "stopped".into());
            if let Some(last) = &document.last_run {
                row(
                    "last run",
                    format!(
                        "{}, {} ago",
                        boot::ended(last.status),
                        output::duration(now.saturating_sub(last.ended_s))
                    ),
                );
                if let Some(reason) = &last.reason {
                    row("reason", reason.clone());
                }
                if last.oom_kills > 0 {
                    row("out of memory", killed(last.oom_kills));
                }
            }
        }
        Some(state) => {
            let boots = if state.boots > 1 {
                format!(", boot {} of this run", state.boots)
            } else {
                String::new()
            };
            row(
                name,
                format!(
                    "{} since {}{boots}",
                    state.state,
                    output::duration(now.saturating_sub(state.booted_s))
                ),
            );
            if let Some(ready) = &state.ready {
                row(
                    "ready",
                    format!("after {} ms: {}", ready.after_ms, ready.how),
                );
            }
            row(
                "PID 1",
                format!(
                    "{} on the host: {}",
                    state.leader_pid,
                    state.spec.argv.join(" ")
                ),
            );
        }
    }
    if let Some(plan) = &document.engine() {
        row("engine", plan.engine.to_string());
    }
    if let Some(record) = &document.record {
        row("source", record.source.clone());
        row(
            "machine ID",
            document
                .running
                .as_ref()
                .map_or(&record.uuid, |state| &state.spec.uuid)
                .clone(),
        );
    }
    if let Some((usage, state)) = document.usage.as_ref().zip(document.running.as_ref()) {
        use_rows(usage, state, &mut row);
    }
    output::table(&rows);
    if let Some(state) = &document.running {
        for warning in &state.warnings {
            output::line(format!("done without: {warning}"));
        }
        output::line("decided:");
        for decision in &state.spec.decisions {
            output::line(format!("  {}\n      {}", decision.what, decision.why));
        }
    }
}
