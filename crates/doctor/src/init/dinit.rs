//! dinit as PID 1, also behind Chimera Linux' init script.

use super::{InitSystem, Setup, Unwanted};
use crate::control::{collect, protocol, run, signal};
use crate::getty::{add, recognise, tty_name};
use crate::reading::{base_name, entries, evidence, text};
use crate::{Candidate, Result, edit, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;
use repot_rootfs::format::lines::Lines;
use std::collections::BTreeSet;

/// Where services are described, the first wins (dinit(8)).
const SERVICE_DIRS: &[&str] = &[
    "/etc/dinit.d",
    "/usr/local/lib/dinit.d",
    "/usr/lib/dinit.d",
    "/lib/dinit.d",
];

/// The most services that are followed from `boot`. Chimera's desktop has some 150.
const SERVICES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Dinit;

impl InitSystem for Dinit {
    fn id(&self) -> &'static str {
        "dinit"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let is_it = match candidate.script_text() {
            // Chimera: `exec dinit ...` at the end of a script that prepares the root.
            Some(script) => script.lines().any(|line| {
                let mut words = line.split_ascii_whitespace();
                words.next() == Some("exec") && words.any(|word| base_name(word) == "dinit")
            }),
            None => {
                base_name(&candidate.resolved) == "dinit" || candidate.contains("Dinit version")
            }
        };
        if !is_it {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "dinit");
        facts.version = packages::version(root, &["dinit", "dinit-chimera"])?;
        gettys(root, &mut facts)?;
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source =
            "dinit(8), \"Signals\": SIGTERM powers off, SIGINT reboots, when running as the init";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    Some(signal(Signal::TERM)),
                    run(init, "dinit-shutdown", &["-p"]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    Some(signal(Signal::INT)),
                    run(init, "dinit-shutdown", &["-r"]),
                ],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    /// A service, and a line in `boot` that waits for it.
    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        let tree = setup.tree;
        let boot = SERVICE_DIRS
            .iter()
            .map(|dir| format!("{dir}/boot"))
            .find(|path| tree.is_file(path));
        let (Some(command), Some(boot)) = (setup.getty(tty), boot) else {
            return Ok(Vec::new());
        };
        let name = format!("getty-{tty}");
        let why = format!("nobody listens on {tty}");
        let service = format!(
            "# A login on {tty}.\ntype = process\ncommand = {command}\nrestart = true\nsmooth-recovery = true\n"
        );
        let mut text = Lines::parse(&tree.text(&boot)?.unwrap_or_default());
        text.push(&format!("waits-for = {name}"));
        Ok(vec![
            edit::write(tree, &format!("/etc/dinit.d/{name}"), service, &why),
            edit::write(tree, &boot, text.to_string(), &why),
        ])
    }

    /// Takes it out of what other services wait for.
    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        let service = match what {
            // A process that ends at once is given up after a few attempts (dinit-service(5), `restart-limit-count`).
            Unwanted::Terminal(_) => return Ok(Vec::new()),
            Unwanted::Getty(getty) => base_name(&getty.evidence.path).to_owned(),
            Unwanted::Service(name) => (*name).to_owned(),
        };
        let tree = setup.tree;
        let mut edits = Vec::new();
        for dir in SERVICE_DIRS {
            for name in tree.names(dir)? {
                let path = format!("{dir}/{name}");
                if name.ends_with(".d") && tree.symlink_kind(&format!("{path}/{service}")).is_some()
                {
                    let link = format!("{path}/{service}");
                    edits.push(edit::remove(tree, &link, "nothing waits for it any more"));
                    continue;
                }
                let Some(content) = tree.text(&path)? else {
                    continue;
                };
                let mut text = Lines::parse(&content);
                let waits: Vec<u32> = text
                    .iter()
                    .filter(|(_, line)| {
                        line.split_once(['=', ':']).is_some_and(|(key, value)| {
                            key.trim() == "waits-for" && value.trim() == service
                        })
                    })
                    .map(|(number, _)| number)
                    .collect();
                if !waits.is_empty() {
                    waits.iter().for_each(|number| text.comment(*number));
                    let why = "nothing waits for it any more";
                    edits.push(edit::write(tree, &path, text.to_string(), why));
                }
            }
        }
        Ok(edits)
    }
}

/// Follows the dependencies of `boot` and looks at each command.
///
/// # Source
/// dinit-service(5): `depends-on`, `depends-ms`, `waits-for` and their `.d` forms; `name@argument`.
fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let mut known = BTreeSet::new();
    let mut next = vec!["boot".to_owned()];
    while let Some(service) = next.pop() {
        if known.len() >= SERVICES || !known.insert(service.clone()) {
            continue;
        }
        let (base, argument) = match service.split_once('@') {
            Some((base, argument)) => (base, Some(argument)),
            None => (service.as_str(), None),
        };
        let mut file = None;
        for name in [service.as_str(), base] {
            for dir in SERVICE_DIRS {
                let path = format!("{dir}/{name}");
                if file.is_none()
                    && let Some(content) = text(root, &path)?
                {
                    file = Some((*dir, path, content));
                }
            }
        }
        let Some((dir, path, content)) = file else {
            continue;
        };
        for (number, line) in (1..).zip(content.lines()) {
            let Some((key, value)) = line.split_once(['=', ':']) else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "depends-on" | "depends-ms" | "waits-for" => next.push(value.to_owned()),
                "depends-on.d" | "depends-ms.d" | "waits-for.d" => {
                    let below = match value.starts_with('/') {
                        true => value.to_owned(),
                        false => format!("{dir}/{value}"),
                    };
                    let found = entries(root, &below)?.into_iter().map(|entry| entry.name);
                    next.extend(found.filter(|name| !name.starts_with('.')));
                }
                "command" => {
                    let words: Vec<&str> = value.split_ascii_whitespace().collect();
                    let Some(command) = recognise(&words) else {
                        continue;
                    };
                    // `$1` stands for the argument; a name like agetty-tty1 tells as much.
                    let by_name = argument
                        .or_else(|| service.rsplit('-').next())
                        .and_then(tty_name);
                    if let Some(tty) = command.tty.clone().or(by_name) {
                        add(
                            root,
                            facts,
                            &command,
                            &tty,
                            evidence(&path, Some(number), line),
                        );
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::GettyKind;

    #[test]
    fn chimera_follows_the_dependencies_of_boot() {
        let tree = Tree::new()
            .elf("/usr/bin/dinit", "")
            .elf("/bin/sh", "")
            .elf("/usr/bin/agetty", "")
            .script("/sbin/init", "#!/bin/sh\nif [ -n \"${container+x}\" ]; then\n    exec /usr/bin/dinit \"$@\"\nfi\n")
            .file("/usr/lib/dinit.d/boot", "depends-ms  = login.target\nwaits-for.d = boot.d\n")
            .file("/usr/lib/dinit.d/login.target", "depends-on: boot\n")
            .link("/usr/lib/dinit.d/boot.d/agetty-tty1", "../agetty-tty1")
            .link("/usr/lib/dinit.d/boot.d/getty@tty2", "../getty")
            .file("/usr/lib/dinit.d/getty", "command = agetty --autologin root $1\n")
            .file("/usr/lib/dinit.d/agetty-tty1", "command         = /usr/bin/agetty --noclear tty1 38400 linux\n")
            .file("/usr/lib/dinit.d/agetty-tty6", "command         = /usr/bin/agetty --noclear tty6 38400 linux\n");
        let init = tree.init();
        assert_eq!(init.id.0, "dinit");
        assert_eq!(
            ttys(&init),
            [("tty2", GettyKind::Autologin), ("tty1", GettyKind::Login)]
        );
    }
}
