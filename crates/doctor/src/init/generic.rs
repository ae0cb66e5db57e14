//! Programs that could be PID 1 and that repot does not know: the kernel would start them, so repot does.
//!
//! What is common to nearly all inits is assumed: a pty as console, `container=` set, `poweroff` and `reboot` in
//! the tree talk to it, SIGTERM asks it to end. Whoever knows better passes a stop command by hand.

use super::InitSystem;
use crate::control::{collect, protocol, run, signal};
use crate::{Candidate, Result};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct Generic;

impl InitSystem for Generic {
    fn id(&self) -> &'static str {
        "generic"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let name = candidate.resolved.rsplit('/').next().unwrap_or("init");
        let mut facts = candidate.facts(self.id(), &format!("unknown init ({name})"));
        collect(root, &mut facts);
        // The init's own name among the control programs would be a guess at telinit.
        facts.control.retain(|path| path != &candidate.path);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source =
            "unknown init: its tree's own programs first, then the signal that ends most programs";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    run(init, "poweroff", &[]),
                    run(init, "shutdown", &["-h", "now"]),
                    run(init, "halt", &[]),
                    Some(signal(Signal::TERM)),
                ],
                30,
                source,
            ),
            reboot: protocol(
                [
                    run(init, "reboot", &[]),
                    run(init, "shutdown", &["-r", "now"]),
                    Some(signal(Signal::INT)),
                ],
                30,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::Tree;
    use repot_model::{Signal, StopAction};

    #[test]
    fn programs_first_then_signals() {
        let tree = Tree::new()
            .elf("/bin/sh", "")
            .elf("/sbin/poweroff", "")
            .script("/sbin/init", "#!/bin/sh\nexec something\n");
        assert_eq!(tree.init().id.0, "generic");
        let needs = tree.needs();
        assert_eq!(
            needs.power_off.requests,
            [
                StopAction::Run {
                    argv: vec!["/sbin/poweroff".into()]
                },
                StopAction::Signal {
                    signal: Signal::TERM
                }
            ]
        );
        assert_eq!(needs.argv, ["/sbin/init"]);
    }
}
