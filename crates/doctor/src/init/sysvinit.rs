//! sysvinit, alone or with OpenRC on top.
//!
//! Recognised by the text `SysV init version` in the binary. Its inittab says who listens where; power off is a
//! runlevel and no signal, so that its own program is executed for it.

use super::inittab::{self, Dialect};
use super::{Hearing, InitSystem, Setup, Unwanted, openrc, sysv_rc};
use crate::control::{collect, protocol, run, run_init, signal};
use crate::{Candidate, Result, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct SysVInit;

impl InitSystem for SysVInit {
    fn id(&self) -> &'static str {
        "sysvinit"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        // The second text is what versions before 2.89 have instead (`Version` in `src/init.c`).
        if !candidate.contains("SysV init version") && !candidate.contains("miquels@cistron.nl") {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "sysvinit");
        // `version 3.06 %s booting`, a text of its own in the binary.
        facts.version = candidate
            .texts("version ")
            .filter_map(|text| text.split(' ').nth(1))
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned);
        if facts.version.is_none() {
            facts.version = packages::version(root, &["sysvinit-core", "sysvinit"])?;
        }
        if let Some(entries) = inittab::read(root)? {
            inittab::sysv_gettys(root, &mut facts, &entries);
            inittab::find_openrc(root, &mut facts, &entries)?;
        }
        if facts.on_top.is_some() {
            facts.name = "OpenRC on sysvinit".to_owned();
            openrc::gettys(root, &mut facts)?;
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        // SIGPWR and RTMIN+4 only work where an inittab line or version 3.10 makes them; a runlevel always does.
        let source = "init(8): telinit 0 and 6 change the runlevel; SIGINT runs the ctrlaltdel line of inittab";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: openrc::container_values(init),
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    Some(run_init(init, &["0"])),
                    run(init, "telinit", &["0"]),
                    run(init, "shutdown", &["-h", "-P", "now"]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    Some(run_init(init, &["6"])),
                    run(init, "telinit", &["6"]),
                    Some(signal(Signal::INT)),
                ],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        inittab::listen(setup, Dialect::SysV, tty)
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        match what {
            Unwanted::Getty(getty) => {
                let mut edits = inittab::switch_off_line(setup, getty)?;
                if edits.is_empty() {
                    edits = openrc::switch_off_getty(setup, getty)?;
                }
                Ok(edits)
            }
            Unwanted::Terminal(getty) => {
                let mut edits = inittab::switch_off_getty(setup, getty)?;
                edits.extend(openrc::switch_off_getty(setup, getty)?);
                Ok(edits)
            }
            Unwanted::Service(name) => match setup.init.on_top.is_some() {
                true => openrc::switch_off_service(setup.tree, name),
                false => sysv_rc::switch_off(setup.tree, name),
            },
        }
    }

    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        // Whatever shutdown(8) is there or not, init itself can be asked for runlevel 0.
        let command = format!("{} 0", setup.init.path);
        match wanted.unwrap_or(Signal::PWR) {
            Signal::PWR => inittab::hear(
                setup,
                Signal::PWR,
                &["powerwait", "powerfail"],
                &format!("pf::powerwait:{command}"),
            ),
            Signal::INT => inittab::hear(
                setup,
                Signal::INT,
                &["ctrlaltdel"],
                &format!("ca::ctrlaltdel:{command}"),
            ),
            // sysvinit 3.10 NEWS: SIGRTMIN+4 powers off.
            signal if signal == Signal::rtmin(4) && is_3_10(setup.init.version.as_deref()) => {
                Ok(Hearing::Hears(signal))
            }
            _ => Ok(Hearing::Never),
        }
    }
}

/// Whether a version is 3.10 or later.
fn is_3_10(version: Option<&str>) -> bool {
    let mut parts = version
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(3), Some(10u32))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, StopAction};

    const INITTAB: &str = "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n\
        1:2345:respawn:/sbin/getty --noclear 38400 tty1\n2:3:respawn:/sbin/getty 38400 tty2\n\
        3:2345:respawn:/sbin/nogetty 38400 tty3\nco:2:respawn:/sbin/mingetty console\nz6:6:respawn:/sbin/sulogin\n";

    fn tree() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version: %s\0version 3.06 %s")
            .elf("/sbin/getty", "")
            .file("/etc/inittab", INITTAB)
    }

    #[test]
    fn the_default_level_counts() {
        let init = tree().init();
        assert_eq!(
            (init.name.as_str(), init.version.as_deref()),
            ("sysvinit", Some("3.06"))
        );
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        assert_eq!(init.gettys[0].evidence.line, Some(3));
        // mingetty is in the line, but not in the tree.
        assert_eq!(init.broken_gettys.len(), 1);
        assert_eq!(init.broken_gettys[0].line, Some(6));
    }

    #[test]
    fn it_is_asked_by_runlevel() {
        let run = |level: &str| StopAction::Run {
            argv: vec!["/sbin/init".into(), level.into()],
        };
        let needs = tree().needs();
        assert_eq!(needs.power_off.requests[0], run("0"));
        assert_eq!(needs.reboot.requests[0], run("6"));
        assert_eq!(needs.container, ["repot"]);
    }

    #[test]
    fn openrc_on_top() {
        let tree = tree()
            .script(
                "/etc/init.d/rcS",
                "#!/bin/sh\n# openrc\nexec /sbin/openrc sysinit\n",
            )
            .elf("/sbin/agetty", "")
            .script("/etc/init.d/agetty", "#!/sbin/openrc-run\n")
            .link("/etc/runlevels/default/agetty.ttyS0", "/etc/init.d/agetty");
        let init = tree.init();
        assert_eq!(init.name, "OpenRC on sysvinit");
        assert_eq!(init.on_top.as_ref().unwrap().0, "openrc");
        assert_eq!(init.evidence.last().unwrap().line, Some(3));
        assert!(ttys(&init).contains(&("ttyS0", GettyKind::Login)));
        assert_eq!(tree.needs().container, ["systemd-nspawn", "lxc"]);
    }

    #[test]
    fn versions_before_2_89() {
        let tree = Tree::new().elf(
            "/sbin/init",
            "@(#) init 2.88  26-Mar-2010  miquels@cistron.nl",
        );
        assert_eq!(tree.init().id.0, "sysvinit");
    }
}
