//! A single command in a tree, run by an engine instead of by repot itself: `repot run --on`, `repot command` for engines that
//! boot nothing.

use crate::handing::{self, Elsewhere};
use crate::machines::{self, Start};
use crate::sessions;
use anyhow::bail;
use repot_engines::Launch;
use repot_model::{BootSpec, Overlay};
use repot_runtime::plan::{EngineRequest, Payload, plan_for_engine};
use repot_runtime::registry;

/// Plans it. For one that is meant, makes the directories that the plan names.
pub(crate) fn spec(
    start: Start<'_>,
    elsewhere: &Elsewhere,
    make: bool,
) -> anyhow::Result<BootSpec> {
    let Start {
        dirs,
        record,
        root,
        writes,
        environment,
        ref payload,
        ..
    } = start;
    let Payload::Command { argv, terminal } = payload else {
        bail!("an init is booted, not run as a command");
    };
    handing::check(record, environment, elsewhere)?;
    let overlay = machines::overlay(dirs, record, writes);
    let mut env = vec![
        ("HOME".to_owned(), "/root".to_owned()),
        ("TERM".to_owned(), sessions::term(root)),
        (
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
    ];
    let wanted = machines::variables(environment)?;
    env.retain(|(name, _)| !wanted.iter().any(|(other, _)| other == name));
    env.extend(wanted);
    let cgroup = registry::cgroup_path(dirs, &record.name, repot_model::CgroupVersion::V2);
    let limits = crate::limits::of(record)?;
    let launch = Launch {
        name: record.name.clone(),
        hostname: environment
            .hostname
            .clone()
            .unwrap_or_else(|| record.name.to_string()),
        uuid: record.uuid.clone(),
        argv: argv.clone(),
        env,
        power_off: None,
        patience_s: 0,
        cgroups: Vec::new(),
        network: machines::network(environment),
        binds: machines::binds(environment)?,
        tmpfs: machines::all_tmpfs(environment)?,
        limits: record.limits.unwrap_or_default(),
        claims_terminal: false,
        is_supervised: true,
        terminals: Vec::new(),
        cgroup: cgroup.clone(),
        power_off_program: None,
        dir: elsewhere.dir(dirs, &record.name),
        run: elsewhere.run_dir(dirs, &record.name),
    };
    let hand_over = elsewhere
        .engine
        .run_command(&launch, &elsewhere.host, &elsewhere.found)?;
    // Not before: an engine that refuses leaves nothing to be removed.
    let (layers, notes) = machines::layers(&start, &overlay, make)?;
    if make && let Overlay::Kept { dir } = &overlay {
        machines::make_writes(dir)?;
    }
    let mut spec = plan_for_engine(EngineRequest {
        cgroup_path: cgroup.filter(|_| hand_over.stays_in_cgroup),
        name: launch.name,
        hostname: launch.hostname,
        uuid: launch.uuid,
        base: record.base.clone(),
        layers,
        overlay,
        limits,
        network: launch.network,
        binds: launch.binds,
        tmpfs: launch.tmpfs,
        env: launch.env,
        argv: launch.argv,
        needs: None,
        hand_over,
        is_served: true,
    });
    if !terminal {
        spec.terminals.clear();
    }
    spec.decisions.extend(notes);
    Ok(spec)
}
