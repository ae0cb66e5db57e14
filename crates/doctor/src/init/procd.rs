//! OpenWrt's procd. `/sbin/init` prepares the root and executes `/sbin/procd`.

use super::inittab::{self, Dialect};
use super::{Hearing, InitSystem, Setup, Unwanted, heard};
use crate::control::{collect, protocol, run, signal};
use crate::reading::{evidence, text};
use crate::{Candidate, Result, edit};
use repot_model::{Edit, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;
use repot_rootfs::format::assignments;

#[derive(Debug)]
pub(crate) struct Procd;

impl InitSystem for Procd {
    fn id(&self) -> &'static str {
        "procd"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        if !candidate.contains("/sbin/procd") || !root.is_executable("/sbin/procd") {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "procd");
        let release = assignments::parse(&text(root, "/etc/openwrt_release")?.unwrap_or_default());
        if let Some(found) = assignments::get(&release, "DISTRIB_RELEASE") {
            facts.version = Some(format!("OpenWrt {}", found.value));
        }
        facts
            .evidence
            .push(evidence("/sbin/procd", None, "executable"));
        if let Some(entries) = inittab::read(root)? {
            inittab::busybox_gettys(root, &mut facts, &entries);
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "procd signal.c: SIGUSR2 powers off, SIGTERM reboots";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            // Any value keeps procd from mounting proc, sysfs and /dev again (`initd/early.c`).
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [Some(signal(Signal::USR2)), run(init, "poweroff", &[])],
                60,
                source,
            ),
            reboot: protocol(
                [Some(signal(Signal::TERM)), run(init, "reboot", &[])],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    /// OpenWrt's own way, a shell or login after a key press, where it has the script for it; else a getty.
    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        const SCRIPT: &str = "/usr/libexec/login.sh";
        let text = setup.tree.text("/etc/inittab")?;
        let (Some(text), true) = (text, setup.tree.is_executable(SCRIPT)) else {
            return inittab::listen(setup, Dialect::Busybox, tty);
        };
        let line = format!("{tty}::askfirst:{SCRIPT}");
        let text = repot_rootfs::format::inittab::add(&text, None, &line);
        let why = format!("nobody listens on {tty}");
        Ok(vec![edit::write(setup.tree, "/etc/inittab", text, &why)])
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        match what {
            Unwanted::Getty(getty) => inittab::switch_off_line(setup, getty),
            Unwanted::Terminal(getty) => inittab::switch_off_getty(setup, getty),
            // /etc/rc.d/S10boot: START and name (OpenWrt's rc.common, `disable`).
            Unwanted::Service(name) => {
                let mut edits = Vec::new();
                for link in setup.tree.names("/etc/rc.d")? {
                    let own = link
                        .trim_start_matches('S')
                        .trim_start_matches(|c: char| c.is_ascii_digit());
                    if link.starts_with('S') && own == *name {
                        let path = format!("/etc/rc.d/{link}");
                        edits.push(edit::remove(setup.tree, &path, "not started any more"));
                    }
                }
                Ok(edits)
            }
        }
    }

    /// # Source
    /// procd signal.c: SIGUSR1 halts, SIGUSR2 and SIGPWR power off.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        Ok(match wanted {
            Some(signal @ (Signal::USR1 | Signal::PWR)) => Hearing::Hears(signal),
            Some(_) | None => heard(&self.needs(setup.init, setup.facts), wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::GettyKind;

    #[test]
    fn openwrt() {
        let tree = Tree::new()
            .elf("/sbin/init", "/sbin/procd\0/etc/inittab")
            .elf("/sbin/procd", "")
            .script("/usr/libexec/login.sh", "#!/bin/sh\n")
            .file("/etc/openwrt_release", "DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='23.05.2'\nDISTRIB_DESCRIPTION='OpenWrt 23.05.2 r1'\n")
            .file("/etc/inittab", "::sysinit:/etc/init.d/rcS S boot\n::shutdown:/etc/init.d/rcS K shutdown\n::askconsole:/usr/libexec/login.sh\n");
        let facts = tree.facts();
        assert_eq!(facts.distribution.id, "openwrt");
        assert_eq!(facts.distribution.name, "OpenWrt 23.05.2 r1");
        let init = facts.init.unwrap();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("procd", Some("OpenWrt 23.05.2"))
        );
        assert_eq!(ttys(&init), [("console", GettyKind::Shell)]);
    }
}
