//! finit (fast init). Recognised by its name or by the text `Finit v` in the binary.

use super::{Hearing, InitSystem, Setup, Unwanted, heard};
use crate::control::{collect, collect_in, protocol, run, signal};
use crate::getty::{add, push, recognise, tty_name};
use crate::reading::{base_name, entries, evidence, text};
use crate::{Candidate, Result, edit, packages};
use repot_model::{Edit, Facts, GettyKind, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;
use repot_rootfs::format::lines::Lines;

#[derive(Debug)]
pub(crate) struct Finit;

impl InitSystem for Finit {
    fn id(&self) -> &'static str {
        "finit"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        if candidate.script.is_some()
            || base_name(&candidate.resolved) != "finit" && !candidate.contains("Finit v")
        {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "finit");
        facts.version = candidate
            .texts("Finit v")
            .filter_map(|text| text.strip_prefix("Finit v")?.split(' ').next())
            .find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned);
        if facts.version.is_none() {
            facts.version = packages::version(root, &["finit"])?;
        }
        gettys(root, &mut facts)?;
        collect(root, &mut facts);
        // Debian 12 keeps initctl beside finit's own helpers.
        collect_in(root, &mut facts, &["/lib/finit", "/usr/lib/finit"]);
        Ok(Some(facts))
    }

    fn is_getty(&self) -> bool {
        true
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "finit doc/signals.md (4.2 to 4.14): SIGUSR2 powers off, SIGTERM reboots, both after stopping everything";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            // With a value that finit knows (lxc, docker, ...) it ends by exit(0) instead of reboot(2), and a
            // reboot can no longer be told from a power-off. It does not know this one.
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    Some(signal(Signal::USR2)),
                    run(init, "initctl", &["poweroff"]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    Some(signal(Signal::TERM)),
                    run(init, "initctl", &["reboot"]),
                ],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    /// A `tty` line beside the others. `console` and not `@console`, which means the consoles of the host's kernel.
    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        let path = conf(setup)?;
        let mut text = Lines::parse(&setup.tree.text(&path)?.unwrap_or_default());
        let last = text
            .iter()
            .filter(|(_, line)| line.starts_with("tty"))
            .map(|(number, _)| number)
            .last();
        let line = format!("tty [12345] {tty} noclear nowait");
        text.insert_after(last.unwrap_or(text.count()), &line);
        let why = format!("nobody listens on {tty}");
        Ok(vec![edit::write(setup.tree, &path, text.to_string(), &why)])
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        let getty = match what {
            // finit passes over terminals that do not exist (src/tty.c).
            Unwanted::Terminal(_) => return Ok(Vec::new()),
            Unwanted::Getty(getty) => getty,
            Unwanted::Service(name) => {
                let path = format!("/etc/finit.d/{name}.conf");
                return Ok(match setup.tree.symlink_kind(&path) {
                    Some(_) => vec![edit::remove(setup.tree, &path, "not started any more")],
                    None => Vec::new(),
                });
            }
        };
        let path = getty.evidence.path.clone();
        let mut text = Lines::parse(&setup.tree.text(&path)?.unwrap_or_default());
        let lines: Vec<u32> = text
            .iter()
            .filter(|(_, line)| line.trim() == getty.evidence.seen)
            .map(|(number, _)| number)
            .collect();
        for line in &lines {
            text.comment(*line);
        }
        Ok(match lines.is_empty() {
            true => Vec::new(),
            false => vec![edit::write(
                setup.tree,
                &path,
                text.to_string(),
                "one login is enough there",
            )],
        })
    }

    /// # Source
    /// finit doc/signals.md and the example `/etc/finit.conf` of 4.2: SIGPWR asserts `sys/pwr/fail`, SIGINT `sys/key/ctrlaltdel`.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        let condition = match wanted {
            Some(Signal::PWR) => "sys/pwr/fail",
            Some(Signal::INT) => "sys/key/ctrlaltdel",
            Some(_) | None => return Ok(heard(&self.needs(setup.init, setup.facts), wanted)),
        };
        let signal = wanted.unwrap_or(Signal::PWR);
        let Some(initctl) = setup
            .init
            .control
            .iter()
            .find(|path| base_name(path) == "initctl")
        else {
            return Ok(Hearing::Never);
        };
        let path = "/etc/finit.conf";
        let mut text = Lines::parse(&setup.tree.text(path)?.unwrap_or_default());
        let of_condition: Vec<(u32, bool)> = text
            .iter()
            .filter(|(_, line)| !line.trim_start().starts_with('#') && line.contains(condition))
            .map(|(number, line)| (number, line.contains("poweroff") || line.contains("halt")))
            .collect();
        if of_condition.iter().any(|(_, stops)| *stops) {
            return Ok(Hearing::Hears(signal));
        }
        for (number, _) in &of_condition {
            text.comment(*number);
        }
        text.push(&format!(
            "task [12345789] <{condition}> {initctl} poweroff -- Shutting down system"
        ));
        let why = format!("{signal} is to power the machine off");
        let edit = edit::write(setup.tree, path, text.to_string(), &why);
        Ok(Hearing::Once(signal, vec![edit]))
    }
}

/// The file that a `tty` line belongs into: where the others are.
fn conf(setup: &Setup<'_>) -> Result<String> {
    for path in ["/etc/finit.d/getty.conf", "/etc/finit.d/tty.conf"] {
        if setup.tree.is_file(path) {
            return Ok(path.to_owned());
        }
    }
    let known = setup
        .init
        .gettys
        .first()
        .map(|getty| getty.evidence.path.clone());
    Ok(known.unwrap_or_else(|| "/etc/finit.conf".to_owned()))
}

/// `tty` lines of finit.conf(5): `tty [LEVELS] <COND> DEVICE ...` with finit's own getty, or
/// `tty [LEVELS] GETTY ARGS...` with another.
fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let mut files = vec!["/etc/finit.conf".to_owned()];
    for dir in ["/etc/finit.d", "/etc/finit.d/enabled"] {
        for entry in entries(root, dir)? {
            if entry.name.ends_with(".conf") {
                files.push(format!("{dir}/{}", entry.name));
            }
        }
    }
    let mut contents = Vec::new();
    for path in files {
        if let Some(content) = text(root, &path)? {
            contents.push((path, content));
        }
    }
    let level = contents
        .iter()
        .flat_map(|(_, content)| content.lines())
        .filter_map(|line| line.trim().strip_prefix("runlevel ")?.trim().chars().next())
        .next_back()
        .unwrap_or('2');
    for (path, content) in &contents {
        for (number, line) in (1..).zip(content.lines()) {
            if let Some(rest) = line.trim().strip_prefix("tty") {
                tty_line(root, facts, rest, level, evidence(path, Some(number), line));
            }
        }
    }
    Ok(())
}

fn tty_line(
    root: &RootRead,
    facts: &mut InitFacts,
    rest: &str,
    level: char,
    seen: repot_model::Evidence,
) {
    if !rest.starts_with(|c: char| c.is_whitespace() || c == '[') {
        return;
    }
    let mut rest = rest.trim_start();
    if let Some((levels, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // finit.conf(5): `[!789]` means all levels but these.
        let here = match levels.strip_prefix('!') {
            Some(without) => !without.contains(level),
            None => levels.contains(level),
        };
        if !here {
            return;
        }
        rest = after.trim_start();
    }
    if let Some((_, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        rest = after.trim_start();
    }
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    if let Some(command) = recognise(&words)
        && let Some(tty) = command.tty.clone()
    {
        add(root, facts, &command, &tty, seen);
        return;
    }
    let kind = if words.contains(&"nologin") || words.contains(&"notty") {
        GettyKind::Shell
    } else {
        GettyKind::Login
    };
    match words.first() {
        // Expanded from /sys/class/tty/console/active, where a machine sees the consoles of its host's kernel.
        Some(&"@console") => {
            let reason = format!(
                "{}: @console means the consoles of the kernel, not /dev/console",
                seen.seen
            );
            facts
                .broken_gettys
                .push(evidence(&seen.path, seen.line, &reason));
        }
        Some(device) => {
            if let Some(tty) = tty_name(device) {
                push(facts, &tty, kind, seen);
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, Signal, StopAction};

    #[test]
    fn tty_lines_of_all_forms() {
        let tree = Tree::new()
            .elf("/sbin/init", "Finit version\0Finit v4.2\0")
            .elf("/sbin/getty", "")
            .elf("/lib/finit/initctl", "")
            .file("/etc/finit.conf", "runlevel 3\n# tty [3] /dev/tty9\n")
            .file(
                "/etc/finit.d/getty.conf",
                "tty [12345] /dev/tty1 linux noclear nowait\ntty [2] /dev/tty2\ntty [!3] /dev/tty3\n\
                 tty [S2345] <pid/elogind> /dev/tty4 nologin\ntty [2345] /sbin/getty -L 115200 /dev/ttyS0 vt100\n\
                 tty [2345] /sbin/agetty ttyS1\ntty [345] console\ntty [345] @console noclear\n",
            )
            .file("/etc/finit.d/available/x.conf", "tty [3] /dev/tty7\n");
        let init = tree.init();
        assert_eq!(init.version.as_deref(), Some("4.2"));
        assert_eq!(
            ttys(&init),
            [
                ("tty1", GettyKind::Login),
                ("tty4", GettyKind::Shell),
                ("ttyS0", GettyKind::Login),
                ("console", GettyKind::Login)
            ]
        );
        assert_eq!(init.broken_gettys.len(), 2);
        let needs = tree.needs();
        assert_eq!(
            needs.power_off.requests,
            [
                StopAction::Signal {
                    signal: Signal::USR2
                },
                StopAction::Run {
                    argv: vec!["/lib/finit/initctl".into(), "poweroff".into()]
                }
            ]
        );
        assert!(
            !needs
                .container
                .iter()
                .any(|value| ["lxc", "docker", "systemd-nspawn"].contains(&value.as_str()))
        );
    }
}
