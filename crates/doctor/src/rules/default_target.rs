//! systemd's default target is missing, or one that ends without a login.
//!
//! Symptom: `Failed to load default.target`, `You are in rescue mode`, or a machine that powers off as soon as it has booted.

use super::{Case, Rule, RuleMeta, absent};
use crate::Result;
use crate::edit;
use crate::reading::{base_name, evidence};
use repot_model::{Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct DefaultTarget;

static META: RuleMeta = RuleMeta {
    id: "default-target",
    severity: Severity::NoBoot,
    summary: "systemd is told to boot into a target without logins, or into none",
    explain: "systemd boots what `default.target` is a link to. Images in which somebody cleaned up have none, or one that leads to a \
unit which was deleted; others were left in `rescue.target` after a repair, and rescue mode asks for a root password that a locked root \
does not have. `basic.target` and what comes before it have no logins.\n\nrepot makes it a link to `multi-user.target`. By hand: \
`ln -sf /lib/systemd/system/multi-user.target TREE/etc/systemd/system/default.target`.",
    sources: &["systemd.special(7), default.target", "bootup(7)"],
};

/// Where units are, the first wins (systemd.unit(5)).
const DIRS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Targets that have no login, or only for whoever knows root's password.
const WITHOUT_LOGIN: &[&str] = &[
    "basic.target",
    "emergency.target",
    "exit.target",
    "final.target",
    "halt.target",
    "initrd.target",
    "kexec.target",
    "local-fs.target",
    "poweroff.target",
    "reboot.target",
    "rescue.target",
    "shutdown.target",
    "soft-reboot.target",
    "sysinit.target",
];

impl Rule for DefaultTarget {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let is_systemd = case
            .facts
            .init
            .as_ref()
            .is_some_and(|init| init.id.0 == "systemd");
        if !is_systemd {
            return Ok(Vec::new());
        }
        let tree = case.tree;
        let exists = |unit: &str| {
            DIRS.iter()
                .any(|dir| tree.is_file(&format!("{dir}/{unit}")))
        };
        let place = DIRS
            .iter()
            .map(|dir| format!("{dir}/default.target"))
            .find(|path| tree.symlink_kind(path).is_some());
        let mut finding = match &place {
            None => {
                let mut finding = META.finding(
                    "there is no default.target",
                    "Failed to load default.target: No such file or directory",
                );
                finding.evidence = DIRS
                    .iter()
                    .map(|dir| absent(&format!("{dir}/default.target")))
                    .collect();
                finding
            }
            Some(path) => {
                // What is linked to is looked up by its name (systemd.unit(5)); a file of its own is somebody's own target.
                let Some(to) = tree.read_link(path) else {
                    return Ok(Vec::new());
                };
                let unit = base_name(&to);
                let (summary, symptom) = if to.ends_with("/dev/null") || !exists(unit) {
                    (
                        format!("default.target leads to {to}, which is no unit"),
                        "Failed to load default.target",
                    )
                } else if WITHOUT_LOGIN.contains(&unit) {
                    (
                        format!("default.target is {unit}, which has no login"),
                        "Cannot open access to console, the root account is locked.",
                    )
                } else {
                    return Ok(Vec::new());
                };
                let mut finding = META.finding(summary, symptom);
                finding.evidence = vec![evidence(path, None, &format!("symlink to {to}"))];
                finding
            }
        };
        finding.cause = "systemd boots what default.target is".into();
        let multi_user = DIRS
            .iter()
            .map(|dir| format!("{dir}/multi-user.target"))
            .find(|path| tree.is_file(path));
        match multi_user {
            Some(multi_user) => {
                let path = "/etc/systemd/system/default.target";
                let why = "the boot is to end in logins";
                finding.edits.push(edit::link(tree, path, &multi_user, why));
                finding.remedy = Remedy::Automatic;
            }
            None => {
                finding.hint = Some("reinstall systemd: it has no multi-user.target either".into())
            }
        }
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};
    use repot_model::Remedy;

    const RULE: &str = "default-target";

    fn tree() -> Tree {
        let units = "/lib/systemd/system";
        Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd")
            .file(&format!("{units}/multi-user.target"), "[Unit]\n")
            .file(&format!("{units}/graphical.target"), "[Unit]\n")
            .file(&format!("{units}/rescue.target"), "[Unit]\n")
    }

    #[test]
    fn targets_with_logins_are_fine() {
        for (path, to) in [
            ("/lib/systemd/system/default.target", "graphical.target"),
            // By its name, wherever the link leads.
            (
                "/etc/systemd/system/default.target",
                "/usr/lib/elsewhere/multi-user.target",
            ),
        ] {
            assert!(diagnose_for(&tree().link(path, to), &offers(), RULE).is_empty());
        }
        let own = tree().file("/etc/systemd/system/default.target", "[Unit]\n");
        assert!(diagnose_for(&own, &offers(), RULE).is_empty());
    }

    #[test]
    fn others_are_exchanged() {
        mended(&tree(), &offers(), RULE);
        for to in [
            "/dev/null",
            "gone.target",
            "/lib/systemd/system/rescue.target",
        ] {
            let tree = tree().link("/etc/systemd/system/default.target", to);
            let found = mended(&tree, &offers(), RULE);
            assert_eq!(found[0].edits[0].path, "/etc/systemd/system/default.target");
        }
        let bare = Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd");
        assert_eq!(
            diagnose_for(&bare, &offers(), RULE)[0].remedy,
            Remedy::Manual
        );
    }
}
