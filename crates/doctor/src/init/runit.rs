//! runit as PID 1: Debian, Void, Artix, and plain.
//!
//! Recognised by the name `runit-init` or by the stop files named in the binary. Those files differ: runit's own
//! `/etc/runit/stopit`, on Void a link to `/run/runit/stopit`, on Debian `/run/runit.stopit`.

use super::{Hearing, InitSystem, Setup, Unwanted, sysv_rc};
use crate::control::{collect, protocol, run_init};
use crate::getty::in_script;
use crate::reading::{PROGRAM_DIRS, base_name, entries, evidence, optional, text};
use crate::{Candidate, Result, View, edit, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal, StopAction};
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
        collect(root, &mut facts);
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

    /// A service in the directory of the others. One that is there already, for that terminal, is only enabled.
    ///
    /// # Source
    /// runsv(8), chpst(8) `-P`; Debian's and Void's `supervise` links lead into `/run`.
    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        let tree = setup.tree;
        let (Some(command), Some(enabled)) = (
            setup.getty(tty),
            SERVICE_DIRS.iter().find(|dir| tree.is_dir(dir)),
        ) else {
            return Ok(Vec::new());
        };
        let why = format!("nobody listens on {tty}");
        let ends = |name: &String| name.contains("getty") && name.ends_with(&format!("-{tty}"));
        let mut edits = Vec::new();
        if let Some(name) = tree.names(enabled)?.into_iter().find(ends) {
            let down = format!("{enabled}/{name}/down");
            if tree.exists(&down) {
                edits.push(edit::remove(tree, &tree.place(&down), &why));
                return Ok(edits);
            }
        }
        let store = STORES.iter().find(|dir| tree.is_dir(dir));
        let mut known = None;
        if let Some(store) = store {
            known = tree
                .names(store)?
                .into_iter()
                .filter(ends)
                .find(|name| tree.is_executable(&format!("{store}/{name}/run")));
        }
        let name = known.clone().unwrap_or_else(|| format!("getty-{tty}"));
        let service = format!("{}/{name}", store.unwrap_or(enabled));
        if known.is_none() {
            let leader = match PROGRAM_DIRS
                .iter()
                .any(|dir| tree.is_executable(&format!("{dir}/chpst")))
            {
                true => "chpst -P ",
                false => "",
            };
            let run = format!("#!/bin/sh\nexec {leader}{command}\n");
            edits.push(edit::script(tree, &format!("{service}/run"), run, &why));
            if let Some(to) = supervise(tree, enabled, &name)? {
                let link = format!("{service}/supervise");
                edits.push(edit::link(
                    tree,
                    &link,
                    &to,
                    "runsv's state, as of the other services",
                ));
            }
        }
        if store.is_some() {
            edits.push(edit::link(
                tree,
                &format!("{enabled}/{name}"),
                &service,
                &why,
            ));
        }
        Ok(edits)
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        let tree = setup.tree;
        match what {
            Unwanted::Terminal(getty) | Unwanted::Getty(getty) => {
                let service = getty.evidence.path.strip_suffix("/run");
                let why = format!("{} is not served (runsv(8))", getty.tty);
                Ok(service
                    .map(|service| edit::write(tree, &format!("{service}/down"), "", &why))
                    .into_iter()
                    .collect())
            }
            Unwanted::Service(name) => {
                let mut edits = Vec::new();
                // Debian's stage 1 passes over scripts for which there is such a file.
                let skip = "/etc/runit/no.emulate.sysv.d";
                let stage_1 = tree.text("/etc/runit/1")?.unwrap_or_default();
                if stage_1.contains(skip)
                    && sysv_rc::is_started(tree, name)?
                    && !tree.exists(&format!("{skip}/{name}"))
                {
                    let path = format!("{skip}/{name}");
                    edits.push(edit::write(tree, &path, "", "stage 1 passes over it"));
                }
                if let Some(dir) = SERVICE_DIRS.iter().find(|dir| tree.is_dir(dir))
                    && tree.exists(&format!("{dir}/{name}/run"))
                    && !tree.exists(&format!("{dir}/{name}/down"))
                {
                    let path = format!("{dir}/{name}/down");
                    edits.push(edit::write(tree, &path, "", "not started (runsv(8))"));
                }
                Ok(edits)
            }
        }
    }

    /// SIGINT executes `ctrlaltdel`, after which stage 2 ends if the stop file says so; SIGCONT only looks at that file.
    ///
    /// # Source
    /// runit(8), "CTRL-ALT-DEL" and "SIGCONT".
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        let Some(stop_file) = setup
            .init
            .control
            .iter()
            .find(|path| path.ends_with("stopit"))
        else {
            return Ok(Hearing::Never);
        };
        if wanted.unwrap_or(Signal::INT) != Signal::INT {
            return Ok(Hearing::Never);
        }
        let script = setup.tree.text(CTRL_ALT_DEL)?.unwrap_or_default();
        let lines = || {
            script
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
        };
        let stops = lines().any(|line| line.contains("stopit") && !line.contains("rm "))
            || lines().any(|line| line.contains("init 0") || line.contains("poweroff"));
        if stops && setup.tree.is_executable(CTRL_ALT_DEL) {
            return Ok(Hearing::Hears(Signal::INT));
        }
        let text =
            format!("#!/bin/sh\n# SIGINT powers off.\n: >{stop_file}\nchmod 100 {stop_file}\n");
        let why = "SIGINT is to power the machine off";
        let edit = edit::script(setup.tree, CTRL_ALT_DEL, text, why);
        Ok(Hearing::Once(Signal::INT, vec![edit]))
    }
}

/// What runit executes on SIGINT.
const CTRL_ALT_DEL: &str = "/etc/runit/ctrlaltdel";

/// Where services are kept that are enabled by a link: Debian and Void, Artix.
const STORES: &[&str] = &["/etc/sv", "/etc/runit/sv"];

/// Where a new service's state goes: beside that of the others, if that is a link.
fn supervise(tree: &View<'_>, enabled: &str, name: &str) -> Result<Option<String>> {
    for other in tree.names(enabled)? {
        let link = tree.read_link(&format!("{enabled}/{other}/supervise"));
        if let Some(place) = link.as_deref().and_then(|link| link.strip_suffix(&other)) {
            return Ok(Some(format!("{place}{name}")));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, Signal, StopAction};

    #[test]
    fn debian() {
        let run = "#!/bin/sh -euC\nif ! test -c /dev/tty1 ; then\nexit 0\nfi\npgrep -x getty -t tty1 && exit 163\n\
                   ! type fgetty >/dev/null 2>&1 || exec chpst -P fgetty tty1\nexec chpst -P getty 38400 tty1 linux\n";
        let tree = Tree::new()
            .elf(
                "/lib/runit/runit-init",
                "/run/runit.stopit\0/run/runit.reboot\0/sbin/runit",
            )
            .link("/sbin/init", "/lib/runit/runit-init")
            .elf("/sbin/getty", "")
            .script("/etc/sv/getty-tty1/run", run)
            .link(
                "/etc/runit/runsvdir/default/getty-tty1",
                "/etc/sv/getty-tty1",
            );
        let init = tree.init();
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        assert_eq!(init.gettys[0].evidence.line, Some(7));
        assert!(init.broken_gettys.is_empty(), "{:?}", init.broken_gettys);
        assert_eq!(
            tree.needs().power_off.requests[1],
            StopAction::Touch {
                path: "/run/runit.stopit".into(),
                mode: 0o100,
                signal: Signal::CONT
            }
        );
    }

    #[test]
    fn void() {
        let run = "#!/bin/sh\n\ntty=${PWD##*-}\n\nsv check udevd >/dev/null || exit 1\n\
                   if [ -x /sbin/getty -o -x /bin/getty ]; then\n\tGETTY=getty\n\
                   elif [ -x /sbin/agetty -o -x /bin/agetty ]; then\n\tGETTY=agetty\nfi\n\
                   exec setsid ${GETTY} ${GETTY_ARGS} \\\n\t\"${tty}\" \"${BAUD_RATE}\" \"${TERM_NAME}\"\n";
        let tree = Tree::new()
            .elf(
                "/usr/bin/runit-init",
                "/etc/runit/stopit\0/etc/runit/reboot\0/sbin/runit",
            )
            .link("/usr/sbin/init", "../bin/runit-init")
            .link("/sbin", "usr/sbin")
            .elf("/usr/bin/agetty", "")
            .link("/etc/runit/stopit", "/run/runit/stopit")
            .script("/etc/sv/agetty-tty1/run", run)
            .script("/etc/sv/agetty-tty2/run", run)
            .file("/etc/sv/agetty-tty2/down", "")
            .link(
                "/etc/runit/runsvdir/default/agetty-tty1",
                "/etc/sv/agetty-tty1",
            )
            .link(
                "/etc/runit/runsvdir/default/agetty-tty2",
                "/etc/sv/agetty-tty2",
            );
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.path.as_str()),
            ("runit", "/sbin/init")
        );
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        assert!(init.broken_gettys[0].path.ends_with("/down"));
        assert!(init.control.contains(&"/run/runit/stopit".to_owned()));
    }
}
