//! Upstart: Ubuntu 9.10 to 14.10, RHEL 6.

use super::{Hearing, InitSystem, Setup, Unwanted};
use crate::control::{collect, protocol, run, signal};
use crate::getty::{add, recognise};
use crate::reading::{base_name, entries, evidence, text};
use crate::{Candidate, Result, edit, packages};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct Upstart;

impl InitSystem for Upstart {
    fn id(&self) -> &'static str {
        "upstart"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        // Its D-Bus address; systemd's and sysvinit's binaries have none of it.
        let marked =
            candidate.contains("com.ubuntu.Upstart") || candidate.contains("/com/ubuntu/upstart");
        if candidate.script.is_some() || !marked || !root.is_dir("/etc/init") {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "upstart");
        facts.version = candidate
            .texts("upstart ")
            .filter_map(|text| text.split([' ', ')']).nth(1))
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned);
        if facts.version.is_none() {
            facts.version = packages::version(root, &["upstart"])?;
        }
        gettys(root, &mut facts)?;
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "upstart's shutdown(8) and init(8): runlevel events 0 and 6; SIGINT emits control-alt-delete";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            // Ubuntu's jobs ask running-in-container, which reads this variable; lxc is what they were written for.
            container: vec!["lxc".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    run(init, "shutdown", &["-P", "now"]),
                    run(init, "telinit", &["0"]),
                    run(init, "poweroff", &[]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    run(init, "shutdown", &["-r", "now"]),
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
        let Some(command) = setup.getty(tty) else {
            return Ok(Vec::new());
        };
        let job = format!(
            "# A login on {tty}.\nstart on stopped rc RUNLEVEL=[2345]\nstop on runlevel [!2345]\nrespawn\nexec {command}\n"
        );
        let why = format!("nobody listens on {tty}");
        let mut edits = vec![edit::write(
            setup.tree,
            &format!("/etc/init/{tty}.conf"),
            job,
            &why,
        )];
        let manual = format!("/etc/init/{tty}.override");
        if setup.tree.exists(&manual) {
            edits.push(edit::remove(setup.tree, &manual, &why));
        }
        Ok(edits)
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        let job = match what {
            Unwanted::Terminal(getty) | Unwanted::Getty(getty) => {
                base_name(&getty.evidence.path).trim_end_matches(".conf")
            }
            Unwanted::Service(name) => name,
        };
        let over = format!("/etc/init/{job}.override");
        if !setup.tree.is_file(&format!("/etc/init/{job}.conf")) || setup.tree.exists(&over) {
            return Ok(Vec::new());
        }
        let why = "not started by itself any more (init(5), override files)";
        Ok(vec![edit::write(setup.tree, &over, "manual\n", why)])
    }

    /// # Source
    /// upstart init(8): SIGPWR emits power-status-changed, SIGINT control-alt-delete.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        let signal = wanted.unwrap_or(Signal::PWR);
        let event = match signal {
            Signal::PWR => "power-status-changed",
            Signal::INT => "control-alt-delete",
            _ => return Ok(Hearing::Never),
        };
        let Some(shutdown) = setup
            .init
            .control
            .iter()
            .find(|path| base_name(path) == "shutdown")
        else {
            return Ok(Hearing::Never);
        };
        let command = format!("exec {shutdown} -h now");
        let path = format!("/etc/init/{event}.conf");
        let text = setup.tree.text(&path)?.unwrap_or_default();
        let is_stop = |line: &str| {
            line.starts_with("exec") && line.contains("shutdown") && !line.contains("-r")
        };
        if text.lines().map(str::trim).any(is_stop) {
            return Ok(Hearing::Hears(signal));
        }
        let job = format!("start on {event}\ntask\n{command}\n");
        let why = format!("{signal} is to power the machine off");
        Ok(Hearing::Once(
            signal,
            vec![edit::write(setup.tree, &path, job, &why)],
        ))
    }
}

/// `exec /sbin/getty -8 38400 tty1` in the jobs, unless an override file says `manual` (init(5)).
fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    for entry in entries(root, "/etc/init")? {
        let Some(job) = entry.name.strip_suffix(".conf") else {
            continue;
        };
        let path = format!("/etc/init/{}", entry.name);
        let content = text(root, &path)?.unwrap_or_default();
        let over = text(root, &format!("/etc/init/{job}.override"))?.unwrap_or_default();
        if !content.contains("start on") || over.lines().any(|line| line.trim() == "manual") {
            continue;
        }
        for (number, line) in (1..).zip(content.lines()) {
            let line = line.trim();
            let Some(command) = line.strip_prefix("exec ") else {
                continue;
            };
            let words: Vec<&str> = command.split_ascii_whitespace().collect();
            if let Some(command) = recognise(&words)
                && let Some(tty) = command.tty.clone()
            {
                add(
                    root,
                    facts,
                    &command,
                    &tty,
                    evidence(&path, Some(number), line),
                );
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
    fn jobs_and_overrides() {
        let job =
            |tty: &str| format!("start on stopped rc\nrespawn\nexec /sbin/getty -8 38400 {tty}\n");
        let tree = Tree::new()
            .elf(
                "/sbin/init",
                "com.ubuntu.Upstart0_6\0init (upstart 1.12.1)\0upstart 1.12.1",
            )
            .elf("/sbin/getty", "")
            .file("/etc/init/tty1.conf", &job("tty1"))
            .file("/etc/init/tty2.conf", &job("tty2"))
            .file("/etc/init/tty2.override", "manual\n");
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("upstart", Some("1.12.1"))
        );
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
    }
}
