//! s6-overlay: container images whose entry point is `/init`. No terminals, no logins: PID 1 for services.

use super::InitSystem;
use crate::control::{protocol, signal};
use crate::reading::{entries, evidence, text};
use crate::{Candidate, Result};
use repot_model::{Facts, InitFacts, Needs, ReadySign, Signal, StopAction};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct S6Overlay;

impl InitSystem for S6Overlay {
    fn id(&self) -> &'static str {
        "s6-overlay"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        if candidate.path != "/init" || candidate.script.is_none() {
            return Ok(None);
        }
        let package = entries(root, "/package/admin")?
            .into_iter()
            .find(|entry| entry.name.starts_with("s6-overlay"));
        let mut facts = candidate.facts(self.id(), "s6-overlay");
        if let Some(package) = &package {
            let path = format!("/package/admin/{}", package.name);
            // Version 3: the directory s6-overlay-3.1.6.2 and a link s6-overlay to it.
            let target = root.resolve(&path).unwrap_or_else(|_| path.clone());
            facts.version = target
                .rsplit_once("s6-overlay-")
                .map(|(_, version)| version.to_owned());
            facts
                .evidence
                .push(evidence(&path, None, "s6-overlay version 3"));
        } else if root.is_dir("/etc/s6") && candidate.contains("s6") {
            facts
                .evidence
                .push(evidence("/etc/s6", None, "s6-overlay version 2"));
            facts.version = text(root, "/etc/s6/VERSION")?.map(|text| text.trim().to_owned());
        } else {
            return Ok(None);
        }
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "s6-overlay README: SIGTERM to PID 1 runs the shutdown; /run/s6/basedir/bin/halt does the same";
        let stop = || {
            protocol(
                [
                    Some(signal(Signal::TERM)),
                    Some(StopAction::Run {
                        argv: vec!["/run/s6/basedir/bin/halt".to_owned()],
                    }),
                ],
                30,
                source,
            )
        };
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: stop(),
            // There is no reboot: it ends, and whoever runs it starts it again.
            reboot: stop(),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::Tree;

    #[test]
    fn it_goes_before_the_base_image_s_init() {
        let tree = Tree::new()
            .elf("/bin/busybox", "BusyBox v1.36.1")
            .link("/sbin/init", "/bin/busybox")
            .link("/bin/sh", "/bin/busybox")
            .script("/init", "#!/bin/sh -e\n")
            .dir("/package/admin/s6-overlay-3.1.6.2")
            .link("/package/admin/s6-overlay", "s6-overlay-3.1.6.2");
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("s6-overlay", Some("3.1.6.2"))
        );
        assert!(!tree.needs().uses_reboot_syscall);
    }
}
