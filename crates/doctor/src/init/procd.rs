//! OpenWrt's procd. `/sbin/init` prepares the root and executes `/sbin/procd`.

use super::{InitSystem, inittab};
use crate::control::{collect, protocol, run, signal};
use crate::reading::{evidence, text};
use crate::{Candidate, Result};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal};
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
