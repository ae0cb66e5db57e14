//! s6-svscan as PID 1, bare: `/sbin/init` is a script that ends in `exec s6-svscan SCANDIR`, or a link to it.
//!
//! What a signal does is up to the scan directory's `.s6-svscan/SIG*` scripts, which are facts of the tree.

use super::InitSystem;
use crate::control::{collect, protocol, run, signal};
use crate::getty::in_script;
use crate::reading::{base_name, entries, evidence, text};
use crate::{Candidate, Result, packages};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal, StopAction};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct S6Svscan;

impl InitSystem for S6Svscan {
    fn id(&self) -> &'static str {
        "s6-svscan"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let (scan, line) = match candidate.script_text() {
            Some(script) => {
                let Some((number, line)) = (1..).zip(script.lines()).find(|(_, line)| {
                    !line.trim_start().starts_with('#')
                        && line
                            .split_ascii_whitespace()
                            .any(|word| base_name(word) == "s6-svscan")
                }) else {
                    return Ok(None);
                };
                let mut words = line.split_ascii_whitespace();
                let scan = words
                    .by_ref()
                    .skip_while(|word| base_name(word) != "s6-svscan")
                    .find(|word| word.starts_with('/') && base_name(word) != "s6-svscan");
                (
                    scan.map(str::to_owned),
                    evidence(&candidate.path, Some(number), line),
                )
            }
            None if base_name(&candidate.resolved) == "s6-svscan" => {
                (None, evidence(&candidate.resolved, None, "s6-svscan"))
            }
            None => return Ok(None),
        };
        let mut facts = candidate.facts(self.id(), "s6-svscan");
        facts.evidence.push(line);
        facts.version = packages::version(root, &["s6"])?;
        if let Some(scan) = scan {
            gettys(root, &mut facts, &scan)?;
            for entry in entries(root, &format!("{scan}/.s6-svscan"))? {
                let path = format!("{scan}/.s6-svscan/{}", entry.name);
                if root.is_executable(&path) {
                    facts.control.push(path);
                }
            }
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "s6-svscan(8), \"Signals\": a script .s6-svscan/SIGNAL replaces the default; by default \
                      SIGTERM brings the services down and executes .s6-svscan/finish";
        let handled = |name: &str, number: Signal| -> Option<StopAction> {
            let file = format!("/.s6-svscan/{name}");
            init.control
                .iter()
                .any(|path| path.ends_with(&file))
                .then(|| signal(number))
        };
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    handled("SIGUSR1", Signal::USR1),
                    handled("SIGPWR", Signal::PWR),
                    run(init, "poweroff", &[]),
                    Some(signal(Signal::TERM)),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    handled("SIGINT", Signal::INT),
                    run(init, "reboot", &[]),
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

/// The gettys among the services of a scan directory or of s6-rc's source directory.
pub(crate) fn gettys(root: &RootRead, facts: &mut InitFacts, dir: &str) -> Result<()> {
    for entry in entries(root, dir)? {
        if entry.name.starts_with('.') {
            continue;
        }
        let service = format!("{dir}/{}", entry.name);
        let run = format!("{service}/run");
        let Some(script) = text(root, &run)? else {
            continue;
        };
        let before = facts.gettys.len();
        in_script(root, facts, &entry.name, &run, &script);
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
    fn the_scan_directory_says_what_signals_do() {
        let tree = Tree::new()
            .elf("/bin/sh", "")
            .elf("/sbin/agetty", "")
            .script(
                "/sbin/init",
                "#!/bin/sh\nmount -a\nexec s6-svscan /etc/s6/scan\n",
            )
            .script(
                "/etc/s6/scan/getty-tty1/run",
                "#!/bin/sh\nexec agetty --noclear tty1 38400 linux\n",
            )
            .script("/etc/s6/scan/.s6-svscan/SIGUSR1", "#!/bin/sh\n")
            .script("/etc/s6/scan/.s6-svscan/finish", "#!/bin/sh\n");
        let init = tree.init();
        assert_eq!(init.id.0, "s6-svscan");
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        let needs = tree.needs();
        assert_eq!(
            needs.power_off.requests[0],
            StopAction::Signal {
                signal: Signal::USR1
            }
        );
        assert_eq!(
            needs.reboot.requests,
            [StopAction::Signal {
                signal: Signal::INT
            }]
        );
    }
}
