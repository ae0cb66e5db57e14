//! `repot stop`: asks each init in its own way, waits, says when it had to kill.

use crate::args::Stop;
use crate::{exit, output, sessions};
use anyhow::anyhow;
use repot_model::MachineName;
use repot_runtime::stop::{Stopped, power_off};
use repot_runtime::{Dirs, registry};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) fn run(args: &Stop) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let names: Vec<MachineName> = match args.all {
        true => registry::names(&dirs)
            .into_iter()
            .filter(|name| registry::supervised(&dirs, name).is_some())
            .collect(),
        false => args.names.clone(),
    };
    match names.as_slice() {
        [] => Ok(0),
        [name] => one(&dirs, name, args.timeout.map(Duration::from_secs)),
        several => all(several, args.timeout),
    }
}

fn one(dirs: &Dirs, name: &MachineName, timeout: Option<Duration>) -> anyhow::Result<u8> {
    if registry::supervised(dirs, name).is_none() {
        sessions::state(dirs, name)?;
    }
    match power_off(dirs, name, timeout)? {
        Stopped::Clean(_) | Stopped::Restarted => Ok(0),
        Stopped::Killed { why } => {
            output::note(format!("repot: {name} was killed: {why}"));
            Ok(exit::FINDINGS)
        }
    }
}

/// Several at once: a process of ours each, since each waits for its own machine.
fn all(names: &[MachineName], timeout: Option<u64>) -> anyhow::Result<u8> {
    let spawn = |name: &MachineName| -> std::io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("stop")
            .args(timeout.map(|seconds| format!("--timeout={seconds}")))
            .arg(name.as_str())
            .stdin(Stdio::null());
        command.spawn()
    };
    let children: Vec<_> = names.iter().map(|name| (name, spawn(name))).collect();
    let mut worst = 0;
    for (name, child) in children {
        let status = child
            .and_then(|mut child| child.wait())
            .map_err(|error| anyhow!("stopping {name}: {error}"))?;
        worst = worst.max(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(exit::FAILURE),
        );
    }
    Ok(worst)
}
