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
