//! The init does not learn that it is in a container.
//!
//! Symptom: it checks file systems, loads modules, sets the clock and starts udev, as on hardware, with an error for each.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::reading::evidence;
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::format::assignments;

#[derive(Debug)]
pub(crate) struct ContainerVariable;

static META: RuleMeta = RuleMeta {
    id: "container-variable",
    severity: Severity::Degraded,
    summary: "the engine does not tell the init, in words that it knows, that it is in a container",
    explain: "Inits look at PID 1's variable `container` and, some of them, at files that an engine makes. Each knows another set of \
values: systemd, procd and Chimera's dinit any, OpenRC only `lxc`, `rkt`, `systemd-nspawn` and `docker`. Docker and containerd set none. \
An init that does not learn it treats the machine as hardware: systemd starts gettys on virtual terminals and none on the console, \
OpenRC checks file systems, loads modules and mounts cgroups.\n\nrepot sets the variable where the engine takes variables. Where it \
does not, OpenRC gets `rc_sys` in `/etc/rc.conf`; others have no file for it. By hand: `-e container=docker`, `lxc.environment = \
container=lxc`.",
    sources: &[
        "systemd: The Container Interface",
        "OpenRC src/librc/librc.c, detect_container(); rc.conf, rc_sys",
    ],
};

/// What OpenRC takes for a container by the variable (`detect_container`).
const RC_CONF: &str = "/etc/rc.conf";

impl Rule for ContainerVariable {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (Some(init), Some(needs)) = (&case.facts.init, case.needs) else {
            return Ok(Vec::new());
        };
        let offers = case.offers;
        if !offers.is_pid1 || offers.takes_env {
            return Ok(Vec::new());
        }
        let has_openrc =
            init.id.0 == "openrc" || init.on_top.as_ref().is_some_and(|on| on.0 == "openrc");
        let given = offers.container.as_deref().unwrap_or_default();
        let knows = match (has_openrc, init.id.0.as_str()) {
            (true, _) => needs.container.iter().any(|value| value == given) || given == "docker",
            (false, "systemd" | "nixos" | "procd" | "dinit" | "runit") => !given.is_empty(),
            // The others do not look at it.
            (false, _) => true,
        };
        if knows {
            return Ok(Vec::new());
        }
        let text = case.tree.text(RC_CONF)?;
        if has_openrc
            && let Some(text) = &text
            && assignments::get(&assignments::parse(text), "rc_sys")
                .is_some_and(|known| !known.value.is_empty())
        {
            return Ok(Vec::new());
        }
        let summary = match given {
            "" => format!("{} is not told that it is in a container", init.name),
            given => format!("{} does not know container={given}", init.name),
        };
        let mut finding = META.finding(
            summary,
            "(errors of fsck, modprobe, hwclock and udev; no login on the console)",
        );
        finding.certainty = Certainty::Likely;
        finding.cause =
            "the engine sets the variable itself, or sets none, and takes no other".into();
        finding.evidence = init.evidence.clone();
        match (has_openrc, text, needs.container.first()) {
            (true, Some(text), Some(value)) => {
                finding
                    .evidence
                    .push(evidence(RC_CONF, None, "rc_sys is not set"));
                let text = assignments::set(&text, "rc_sys", &format!("\"{value}\""));
                finding.edits = vec![edit::write(
                    case.tree,
                    RC_CONF,
                    text,
                    "OpenRC is to know that it is in a container",
                )];
                finding.remedy = Remedy::Automatic;
            }
            (_, _, value) => {
                let value = value.map_or("container", String::as_str);
                finding.hint = Some(format!("give PID 1 the variable container={value}"));
            }
        }
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended};
    use repot_model::{Offers, Remedy};

    const RULE: &str = "container-variable";

    fn gives(value: Option<&str>) -> Offers {
        let mut offers = bare_offers();
        offers.takes_env = false;
        offers.container = value.map(str::to_owned);
        offers
    }

    #[test]
    fn openrc_is_told_in_rc_conf() {
        let tree = || {
            Tree::new()
                .elf("/sbin/init", "openrc\0/run/openrc/init.ctl")
                .file("/etc/rc.conf", "#rc_sys=\"\"\nunicode=\"YES\"\n")
        };
        assert!(diagnose_for(&tree(), &bare_offers(), RULE).is_empty());
        assert!(diagnose_for(&tree(), &gives(Some("lxc")), RULE).is_empty());
        for value in [None, Some("oci"), Some("wsl")] {
            let tree = tree();
            mended(&tree, &gives(value), RULE);
            assert!(
                tree.read("/etc/rc.conf")
                    .ends_with("\nrc_sys=\"systemd-nspawn\"\n")
            );
        }
    }

    #[test]
    fn systemd_takes_any_value() {
        let tree = Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd");
        assert!(diagnose_for(&tree, &gives(Some("oci")), RULE).is_empty());
        let found = diagnose_for(&tree, &gives(None), RULE);
        assert_eq!(found[0].remedy, Remedy::Manual);
        let deaf = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "");
        assert!(diagnose_for(&deaf, &gives(None), RULE).is_empty());
    }
}
