//! s6-linux-init: `/sbin/init` is a script, written by s6-linux-init-maker, that executes `s6-linux-init -c BASE`.

use super::{Hearing, InitSystem, Setup, Unwanted, heard, s6_svscan};
use crate::control::{collect, protocol, run, signal};
use crate::reading::{base_name, evidence};
use crate::{Candidate, Result, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

/// Where s6-linux-init-maker puts its base directory unless told otherwise.
const BASE: &str = "/etc/s6-linux-init/current";

#[derive(Debug)]
pub(crate) struct S6LinuxInit;

impl InitSystem for S6LinuxInit {
    fn id(&self) -> &'static str {
        "s6-linux-init"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let Some(script) = candidate.script_text() else {
            return Ok(None);
        };
        let Some(base) = base_dir(&script) else {
            return Ok(None);
        };
        let mut facts = candidate.facts(self.id(), "s6-linux-init");
        facts.evidence.push(evidence(
            &candidate.path,
            None,
            &format!("s6-linux-init -c {base}"),
        ));
        facts.version = packages::version(root, &["s6-linux-init"])?;
        // The early getty (-G) and what else is supervised from the start; then s6-rc's sources where known.
        for dir in [
            format!("{base}/run-image/service"),
            "/etc/s6-rc/source".to_owned(),
            "/etc/s6/sv".to_owned(),
            "/etc/s6/adminsv".to_owned(),
        ] {
            s6_svscan::gettys(root, &mut facts, &dir)?;
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "s6-linux-init-shutdownd and the signal handlers of s6-linux-init-maker: SIGUSR1 and SIGPWR \
                      power off, SIGINT reboots";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    run(init, "s6-linux-init-hpr", &["-p"]),
                    Some(signal(Signal::USR1)),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    run(init, "s6-linux-init-hpr", &["-r"]),
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
        let script = setup.tree.text(&setup.init.path)?.unwrap_or_default();
        match base_dir(&script) {
            Some(base) => s6_svscan::new_service(setup, &format!("{base}/run-image/service"), tty),
            None => Ok(Vec::new()),
        }
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        Ok(s6_svscan::down(setup, what))
    }

    /// # Source
    /// s6-linux-init(8), "Signals"; with `-C` (in a container) SIGTERM halts as well.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        Ok(match wanted {
            Some(Signal::PWR) => Hearing::Hears(Signal::PWR),
            Some(_) | None => heard(&self.needs(setup.init, setup.facts), wanted),
        })
    }
}

/// The base directory that the script `/sbin/init` names. `None`: it does not execute s6-linux-init.
fn base_dir(script: &str) -> Option<String> {
    let words: Vec<&str> = script.split_ascii_whitespace().collect();
    let at = words
        .iter()
        .position(|word| base_name(word) == "s6-linux-init")?;
    let named = words
        .get(at..)
        .unwrap_or_default()
        .windows(2)
        .find_map(|pair| match pair {
            &["-c", base] => Some(base.trim_matches('"').to_owned()),
            _ => None,
        });
    Some(named.unwrap_or_else(|| BASE.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, StopAction};

    #[test]
    fn the_early_getty() {
        let tree = Tree::new()
            .elf("/bin/execlineb", "")
            .elf("/sbin/agetty", "")
            .elf("/bin/s6-linux-init-hpr", "")
            .script("/sbin/init", "#!/bin/execlineb -S0\n\n/bin/s6-linux-init -c /etc/s6-linux-init/other -m 00022 -p /bin -d /dev -- $@\n")
            .script(
                "/etc/s6-linux-init/other/run-image/service/s6-linux-init-early-getty/run",
                "#!/bin/execlineb -P\ns6-setsid agetty -L 38400 tty1 linux\n",
            );
        let init = tree.init();
        assert_eq!(init.id.0, "s6-linux-init");
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        assert_eq!(
            tree.needs().power_off.requests[0],
            StopAction::Run {
                argv: vec!["/bin/s6-linux-init-hpr".into(), "-p".into()]
            }
        );
    }
}
