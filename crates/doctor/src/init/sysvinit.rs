//! sysvinit, alone or with OpenRC on top.
//!
//! Recognised by the text `SysV init version` in the binary. Its inittab says who listens where; power off is a
//! runlevel and no signal, so that its own program is executed for it.

use super::{InitSystem, inittab, openrc};
use crate::control::{collect, protocol, run, run_init, signal};
use crate::{Candidate, Result, packages};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal};
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
        collect(root, &mut facts, &[]);
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
}
