//! `repot list`: machines, running or not.

use crate::args::List;
use crate::handing::engine_of;
use crate::output;
use repot_engines::{ENGINES, Host, engine_name, listed};
use repot_model::{MachineName, MachineState};
use repot_runtime::{Dirs, registry};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// One machine in `repot list --json`.
#[derive(Debug, Serialize)]
struct Row {
    name: MachineName,
    state: MachineState,
    engine: String,
    source: String,
    init: Option<String>,
    pid: Option<i32>,
    ready: Option<String>,
    booted_s: Option<u64>,
    ephemeral: bool,
}

/// A machine in another container system, which repot has not started.
#[derive(Debug, Serialize)]
struct Other {
    name: String,
    state: String,
    engine: &'static str,
    source: String,
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    machines: Vec<Row>,
    /// With --all.
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Vec<Other>>,
}

pub(crate) fn run(args: &List) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let machines: Vec<Row> = registry::names(&dirs)
        .into_iter()
        .filter_map(|name| row(&dirs, name))
        .filter(|row| !args.running || row.state != MachineState::Stopped)
        .collect();
    let others = args.all.then(|| others(&dirs, args.running));
    if args.json {
        output::json(&Document {
            version: output::JSON_VERSION,
            machines,
            others,
        })?;
        return Ok(0);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut table = vec![
        ["NAME", "STATE", "UP", "ENGINE", "INIT", "SOURCE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    table.extend(machines.iter().map(|row| {
        let up = row.booted_s.map_or_else(
            || "-".into(),
            |since| output::duration(now.saturating_sub(since)),
        );
        vec![
            row.name.to_string(),
            row.state.to_string(),
            up,
            row.engine.clone(),
            row.init.clone().unwrap_or_else(|| "-".into()),
            row.source.clone(),
        ]
    }));
    table.extend(others.unwrap_or_default().into_iter().map(|other| {
        let (up, init) = ("-".to_owned(), "-".to_owned());
        let engine = other.engine.to_owned();
        vec![other.name, other.state, up, engine, init, other.source]
    }));
    output::table(&table);
    Ok(0)
}

/// What the container systems of this host have besides the machines of these directories.
fn others(dirs: &Dirs, only_running: bool) -> Vec<Other> {
    let host = Host::look();
    let ours: Vec<String> = registry::names(dirs).iter().map(engine_name).collect();
    ENGINES
        .iter()
        .flat_map(|engine| {
            listed(*engine, &host)
                .into_iter()
                .map(|listed| (engine.id(), listed))
        })
        .filter(|(_, listed)| !ours.contains(&listed.name))
        .filter(|(_, listed)| !only_running || matches!(&*listed.state, "running" | "up"))
        .map(|(engine, listed)| Other {
            name: listed.name,
            state: listed.state,
            engine,
            source: listed.source,
        })
        .collect()
}

fn row(dirs: &Dirs, name: MachineName) -> Option<Row> {
    let record = registry::record(dirs, &name).ok().flatten();
    let engine = record.as_ref().map_or("native", engine_of).to_owned();
    let Some(running) = registry::running(dirs, &name) else {
        // Of another version of repot: that it runs is known, and no more.
        if let Some(header) = registry::foreign(dirs, &name) {
            output::note(format!(
                "repot: {}; `repot stop {name}` ends it",
                registry::not_running(dirs, &name)
            ));
            return Some(Row {
                name,
                state: MachineState::Running,
                engine,
                source: record.map_or_else(String::new, |record| record.source),
                init: None,
                pid: Some(header.leader_pid),
                ready: None,
                booted_s: None,
                ephemeral: false,
            });
        }
        registry::collect_orphan(dirs, &name);
        let record = record?;
        return Some(Row {
            name,
            state: MachineState::Stopped,
            engine,
            source: record.source,
            init: None,
            pid: None,
            ready: None,
            booted_s: None,
            ephemeral: false,
        });
    };
    Some(Row {
        name,
        state: running.state,
        engine: running
            .spec
            .hand_over
            .map_or_else(|| "native".into(), |plan| plan.engine.0),
        source: record.map_or_else(
            || running.spec.root.base.display().to_string(),
            |record| record.source,
        ),
        init: running.spec.argv.first().cloned(),
        pid: Some(running.leader_pid),
        ready: running.ready.map(|ready| ready.how),
        booted_s: Some(running.booted_s),
        ephemeral: running.spec.root.overlay == repot_model::Overlay::Ephemeral,
    })
}
