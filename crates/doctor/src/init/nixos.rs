//! NixOS: systemd, started by the stage 2 script of the system profile.
//!
//! `/etc` and the usual directories are made by that script, so everything is looked up below the store path.
//! Starting systemd directly never works.

use super::{Hearing, InitSystem, Setup, heard, systemd};
use crate::control::collect_in;
use crate::reading::{evidence, optional};
use crate::{Candidate, Result, getty};
use repot_model::{Facts, GettyKind, InitFacts, Needs, Signal};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct NixOs;

impl InitSystem for NixOs {
    fn id(&self) -> &'static str {
        "nixos"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        // Other images built with Nix also have their programs in the store, but no system around them.
        let Some(system) = parent(&candidate.resolved).filter(|system| {
            ["activate", "systemd"]
                .iter()
                .any(|name| root.exists(&format!("{system}/{name}")))
        }) else {
            return Ok(None);
        };
        let mut facts = candidate.facts(self.id(), "NixOS (systemd)");
        // `systemd` in the system's directory leads to /nix/store/HASH-systemd-257.3.
        if let Some(package) = optional(root.resolve(&format!("{system}/systemd")))? {
            let version = package.rsplit_once("-systemd-").map(|(_, version)| version);
            facts.version = version.map(str::to_owned);
            facts
                .evidence
                .push(evidence(&package, None, "the system's systemd"));
        }
        facts.cgroups = systemd::cgroups(systemd::major(facts.version.as_deref()));
        let unit = format!("{system}/etc/systemd/system/console-getty.service");
        if root.is_file(&unit) {
            let seen = evidence(&unit, None, "console-getty.service");
            getty::push(&mut facts, "console", GettyKind::Login, seen);
        } else if root.symlink_metadata(&unit).is_ok() {
            facts
                .broken_gettys
                .push(evidence(&unit, None, "masked, or leads nowhere"));
        }
        collect_in(root, &mut facts, &[&format!("{system}/sw/bin")]);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        systemd::needs(init)
    }

    /// Its units are in the store, and `/etc` is made anew at each boot: only what systemd does by itself counts.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        Ok(match wanted {
            Some(signal) if signal == Signal::rtmin(3) => Hearing::Hears(signal),
            Some(_) | None => heard(&self.needs(setup.init, setup.facts), wanted),
        })
    }
}

/// The system's directory in the store.
pub(crate) fn system_dir(init: &InitFacts) -> Option<String> {
    parent(&init.resolved)
}

/// `/nix/store/HASH-nixos-system-NAME` of a path below it.
fn parent(resolved: &str) -> Option<String> {
    let rest = resolved.strip_prefix("/nix/store/")?;
    let name = rest.split('/').next()?;
    Some(format!("/nix/store/{name}"))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{CgroupVersion, GettyKind};

    #[test]
    fn a_system_profile() {
        let system = "/nix/store/abc-nixos-system-nixos-25.05";
        let tree = Tree::new()
            .elf("/nix/store/b-bash/bin/bash", "")
            .script(&format!("{system}/init"), "#! /nix/store/b-bash/bin/bash\n")
            .script(
                &format!("{system}/activate"),
                "#!/nix/store/b-bash/bin/bash\n",
            )
            .link("/nix/var/nix/profiles/system", system)
            .link(&format!("{system}/systemd"), "/nix/store/s-systemd-257.6")
            .elf("/nix/store/s-systemd-257.6/bin/systemctl", "")
            .file(
                &format!("{system}/etc/os-release"),
                "ID=nixos\nVERSION_ID=\"25.05\"\nPRETTY_NAME=NixOS\n",
            )
            .file(
                &format!("{system}/etc/systemd/system/console-getty.service"),
                "[Service]\n",
            );
        let facts = tree.facts();
        let init = facts.init.unwrap();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("nixos", Some("257.6"))
        );
        assert_eq!(init.path, "/nix/var/nix/profiles/system/init");
        assert_eq!(init.cgroups, [CgroupVersion::V2]);
        assert_eq!(ttys(&init), [("console", GettyKind::Login)]);
        assert_eq!(facts.distribution.id, "nixos");
    }
}
