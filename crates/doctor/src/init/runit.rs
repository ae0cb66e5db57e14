//! runit as PID 1: Debian, Void, Artix, and plain.
//!
//! Recognised by the name `runit-init` or by the stop files named in the binary. Those files differ: runit's own
//! `/etc/runit/stopit`, on Void a link to `/run/runit/stopit`, on Debian `/run/runit.stopit`.

use super::InitSystem;
use crate::control::{collect, protocol, run_init};
use crate::getty::in_script;
use crate::reading::{base_name, entries, evidence, optional, text};
use crate::{Candidate, Result, packages};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal, StopAction};
use repot_rootfs::{FileKind, RootRead};

/// Where the services are before a boot, the first that exists.
///
/// # Source
/// runsvchdir(8) of Debian and Void: stage 2 links `current` to `default`; `/service` is runit's own place.
const SERVICE_DIRS: &[&str] = &[
    "/etc/runit/runsvdir/default",
    "/etc/service",
    "/var/service",
    "/service",
];

#[derive(Debug)]
pub(crate) struct Runit;

impl InitSystem for Runit {
    fn id(&self) -> &'static str {
        "runit"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let name = base_name(&candidate.resolved);
        let stop_file = stop_file(root, candidate)?;
        let by_name = matches!(name, "runit-init" | "runit");
        let by_content = stop_file.is_some() && candidate.contains("/runit");
        if candidate.script.is_some() || !by_name && !by_content {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "runit");
        facts.version = packages::version(root, &["runit", "runit-init"])?;
        gettys(root, &mut facts)?;
        collect(root, &mut facts, &[]);
        facts.control.extend(stop_file);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "runit-init(8): init 0 and init 6 set the mode of the stop and reboot files, then send \
                      SIGCONT to PID 1; stage 3 follows";
        let stop_file = init.control.iter().find(|path| path.ends_with("stopit"));
        let touch = stop_file.map(|path| StopAction::Touch {
            path: path.clone(),
            // runit(8): "has the execute by owner permission set".
            mode: 0o100,
            signal: Signal::CONT,
        });
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol([Some(run_init(init, &["0"])), touch], 60, source),
            reboot: protocol([Some(run_init(init, &["6"]))], 60, source),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }
}

/// The file that tells stage 2 to end, by the name in the binary; a link in the tree is followed one step, since
/// its end is in `/run` and does not exist yet.
fn stop_file(root: &RootRead, candidate: &Candidate) -> Result<Option<String>> {
    for path in [
        "/run/runit.stopit",
        "/run/runit/stopit",
        "/etc/runit/stopit",
    ] {
        if candidate.contains(path) {
            let link = optional(root.read_link(path))?.filter(|link| link.starts_with('/'));
            return Ok(Some(link.unwrap_or_else(|| path.to_owned())));
        }
    }
    Ok(None)
}

fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let Some(dir) = SERVICE_DIRS.iter().find(|dir| root.is_dir(dir)) else {
        return Ok(());
    };
    for entry in entries(root, dir)? {
        // runsvdir(8) passes over names that begin with a dot.
        if entry.name.starts_with('.') || entry.kind == FileKind::File {
            continue;
        }
        let service = format!("{dir}/{}", entry.name);
        let run = format!("{service}/run");
        let Some(script) = text(root, &run)? else {
            continue;
        };
        let before = facts.gettys.len();
        in_script(root, facts, &entry.name, &run, &script);
        // runsv(8): a file `down` keeps the service from being started.
        if root.exists(&format!("{service}/down")) && facts.gettys.len() > before {
            facts.gettys.truncate(before);
            facts.broken_gettys.push(evidence(
                &format!("{service}/down"),
                None,
                "the service is not started",
            ));
        }
    }
    Ok(())
}
