//! s6-svscan as PID 1, bare: `/sbin/init` is a script that ends in `exec s6-svscan SCANDIR`, or a link to it.
//!
//! What a signal does is up to the scan directory's `.s6-svscan/SIG*` scripts, which are facts of the tree.

use super::{Hearing, InitSystem, Setup, Unwanted, heard};
use crate::control::{collect, protocol, run, signal};
use crate::getty::in_script;
use crate::reading::{base_name, entries, evidence, text};
use crate::{Candidate, Result, edit, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal, StopAction};
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
                let Some((number, line, scan)) = scan_line(&script) else {
                    return Ok(None);
                };
                (scan, evidence(&candidate.path, Some(number), line))
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

    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        let script = setup.tree.text(&setup.init.path)?.unwrap_or_default();
        match scan_line(&script).and_then(|(_, _, scan)| scan) {
            Some(scan) => new_service(setup, &scan, tty),
            None => Ok(Vec::new()),
        }
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        Ok(down(setup, what))
    }

    /// # Source
    /// s6-svscan(8), "Signals": a script of the signal's name is executed instead of the default.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        let known = heard(&self.needs(setup.init, setup.facts), wanted);
        let script = setup.tree.text(&setup.init.path)?.unwrap_or_default();
        let scan = scan_line(&script).and_then(|(_, _, scan)| scan);
        let poweroff = setup
            .init
            .control
            .iter()
            .find(|path| base_name(path) == "poweroff");
        let (Hearing::Never, Some(signal), Some(scan), Some(poweroff)) =
            (&known, wanted, scan, poweroff)
        else {
            return Ok(known);
        };
        if ![
            Signal::HUP,
            Signal::INT,
            Signal::QUIT,
            Signal::USR1,
            Signal::USR2,
            Signal::PWR,
        ]
        .contains(&signal)
            || is_volatile(&scan)
        {
            return Ok(known);
        }
        let path = format!("{scan}/.s6-svscan/{signal}");
        let text = format!("{}exec {poweroff}\n", shebang(setup));
        let why = format!("{signal} is to power the machine off");
        let before = setup.tree.text(&path)?.unwrap_or_default();
        Ok(match before.contains("poweroff") {
            true => Hearing::Hears(signal),
            false => Hearing::Once(signal, vec![edit::script(setup.tree, &path, text, &why)]),
        })
    }
}

/// The line that executes s6-svscan, and the scan directory that it names.
fn scan_line(script: &str) -> Option<(u32, &str, Option<String>)> {
    let (number, line) = (1..).zip(script.lines()).find(|(_, line)| {
        !line.trim_start().starts_with('#')
            && line
                .split_ascii_whitespace()
                .any(|word| base_name(word) == "s6-svscan")
    })?;
    let scan = line
        .split_ascii_whitespace()
        .skip_while(|word| base_name(word) != "s6-svscan")
        .find(|word| word.starts_with('/') && base_name(word) != "s6-svscan");
    Some((number, line, scan.map(str::to_owned)))
}

/// Whether a directory is made at each boot.
fn is_volatile(dir: &str) -> bool {
    ["/run/", "/dev/", "/tmp/", "/var/run/"]
        .iter()
        .any(|above| dir.starts_with(above))
}

/// The first line of a script that the tree can execute.
fn shebang(setup: &Setup<'_>) -> &'static str {
    match setup.tree.exists("/bin/sh") {
        true => "#!/bin/sh\n",
        false => "#!/bin/execlineb -P\n",
    }
}

/// A service directory that puts a login on a terminal.
pub(crate) fn new_service(setup: &Setup<'_>, dir: &str, tty: &str) -> Result<Vec<Edit>> {
    let Some(command) = setup.getty(tty).filter(|_| !is_volatile(dir)) else {
        return Ok(Vec::new());
    };
    let tree = setup.tree;
    let why = format!("nobody listens on {tty}");
    for name in tree.names(dir)? {
        let down = format!("{dir}/{name}/down");
        if name.contains("getty") && name.ends_with(tty) && tree.exists(&down) {
            return Ok(vec![edit::remove(tree, &tree.place(&down), &why)]);
        }
    }
    let shebang = shebang(setup);
    let exec = if shebang.contains("/bin/sh") {
        "exec "
    } else {
        ""
    };
    let run = format!("{shebang}{exec}{command}\n");
    let path = format!("{dir}/getty-{tty}/run");
    Ok(vec![edit::script(tree, &path, run, &why)])
}

/// A `down` file for a service of these facts' gettys.
pub(crate) fn down(setup: &Setup<'_>, what: &Unwanted<'_>) -> Vec<Edit> {
    match what {
        Unwanted::Terminal(getty) | Unwanted::Getty(getty) => {
            let why = format!("{} is not served (s6-supervise(8))", getty.tty);
            let service = getty.evidence.path.strip_suffix("/run");
            service
                .map(|service| edit::write(setup.tree, &format!("{service}/down"), "", &why))
                .into_iter()
                .collect()
        }
        Unwanted::Service(_) => Vec::new(),
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
