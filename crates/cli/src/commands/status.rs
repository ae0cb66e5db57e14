//! `repot status`: one machine, with what was decided for it and what it uses.

use crate::args::Status;
use crate::commands::boot;
use crate::output;
use repot_model::{HintExt, MachineRecord, RuntimeState};
use repot_runtime::{Dirs, Usage, registry, usage};
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

pub(crate) fn run(args: &Status) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let name = &args.name;
    let record = registry::record(&dirs, name)?;
    let running = registry::running(&dirs, name);
    if record.is_none() && running.is_none() {
        return Err(repot_runtime::Error::NoSuchMachine(name.clone()))
            .hint("`repot list` shows what there is")
            .map_err(Into::into);
    }
    let usage = running.as_ref().map(|state| usage(&state.spec.cgroup));
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
    if let Some(usage) = &document.usage {
        let number = |value: Option<u64>, show: fn(u64) -> String| {
            value.map_or_else(|| "not counted on this host".into(), show)
        };
        row("memory", number(usage.memory_bytes, output::bytes));
        row(
            "processes",
            number(usage.processes, |count| count.to_string()),
        );
        row(
            "CPU time",
            number(usage.cpu_us, |us| {
                format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000)
            }),
        );
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
