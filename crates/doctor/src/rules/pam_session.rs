//! A session module of login's PAM stack needs what the engine does not give: a keyring, mounts, a logind that runs.

use super::pam_loginuid::relax;
use super::{Case, Rule, RuleMeta};
use crate::login::pam;
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Certainty, Finding, Offers, Remedy, Severity};
use repot_rootfs::format::pam as format;

#[derive(Debug)]
pub(crate) struct PamSession;

static META: RuleMeta = RuleMeta {
    id: "pam-session",
    severity: Severity::NoLogin,
    summary: "a session module of login's PAM stack needs what the engine does not give",
    explain: "**Symptom**: after the right password the login ends at once with `Session setup problem, abort.` or `Failed to allocate session \
keyring`; or, with pam_systemd, it takes 25 or 90 seconds.\n\n**Cause**: pam_keyinit makes a session keyring, which a seccomp filter may forbid; \
pam_namespace mounts private directories; pam_systemd asks logind for a session, and logind cannot start where its unit may not mount (it \
fails with `226/NAMESPACE`).\n\n**What repot does**: it makes the lines of pam_keyinit and pam_namespace `optional`, and the line of \
pam_systemd a comment, since that waits whatever its line says.\n\n**By hand**: the same. pam_selinux is another matter: it does nothing \
where SELinux is off, as in all containers whose engine does not mount selinuxfs.",
    sources: &[
        "pam_keyinit(8), pam_namespace(8), pam_systemd(8), pam_selinux(8)",
        "keyrings(7); kernel.keys.maxkeys in Documentation/security/keys/core.rst",
        "systemd/systemd#17866, lxc/lxc#340",
    ],
};

/// A module, whether the engine gives what it needs, what it returns without, the message, and what it needs.
type Row = (
    &'static str,
    fn(&Offers) -> bool,
    &'static str,
    &'static str,
    &'static str,
);

const MODULES: &[Row] = &[
    (
        "pam_keyinit.so",
        |offers| offers.has_keyring,
        "session_err",
        "Failed to allocate session keyring",
        "to make a session keyring",
    ),
    (
        "pam_namespace.so",
        |offers| offers.may_mount,
        "session_err",
        "Session setup problem, abort.",
        "to mount directories of the session's own",
    ),
];

impl Rule for PamSession {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut tree = case.tree.clone();
        for (name, is_given, code, symptom, need) in MODULES {
            if is_given(case.offers) {
                continue;
            }
            let mut finding = META.finding(
                format!("{name} needs {need}, which is not allowed there"),
                *symptom,
            );
            finding.cause = format!("the line is required, and {name} fails");
            let case = Case {
                tree: &tree,
                ..*case
            };
            relax(&case, &mut finding, name, code)?;
            if !finding.evidence.is_empty() {
                findings.push(finding);
            }
            let edits = findings.last().map(|found| found.edits.clone());
            edits.iter().flatten().for_each(|edit| tree.apply(edit));
        }
        let case = Case {
            tree: &tree,
            ..*case
        };
        findings.extend(logind(&case)?);
        Ok(findings)
    }
}

/// pam_systemd where logind may not mount what its unit asks for.
fn logind(case: &Case<'_>) -> Result<Option<Finding>> {
    let is_systemd = case
        .facts
        .init
        .as_ref()
        .is_some_and(|init| init.id.0 == "systemd");
    if case.offers.may_mount || !is_systemd {
        return Ok(None);
    }
    let Some(stack) = pam::stack(case.tree, case.facts)? else {
        return Ok(None);
    };
    let unit = "/usr/lib/systemd/system/systemd-logind.service";
    let unit = [unit, "/lib/systemd/system/systemd-logind.service"]
        .into_iter()
        .find(|path| case.tree.is_file(path));
    let masked = case
        .tree
        .read_link("/etc/systemd/system/systemd-logind.service");
    // A masked unit is refused at once, and one that is not there as well.
    let (Some(unit), None) = (unit, masked) else {
        return Ok(None);
    };
    let mut finding = META.finding(
        "pam_systemd waits for a logind that cannot start",
        "(the login takes 25 seconds or more)",
    );
    finding.severity = Severity::Degraded;
    finding.certainty = Certainty::Likely;
    finding.cause =
        "logind's unit asks for mounts of its own, which are not allowed there: 226/NAMESPACE"
            .into();
    let mut view = case.tree.clone();
    for module in stack
        .modules
        .iter()
        .filter(|module| module.kind == "session" && module.is("pam_systemd.so"))
    {
        finding.evidence.push(module.evidence());
        let why = "nobody waits for a logind that does not run";
        let edit = edit::rewrite(&view, &module.path, why, |text| {
            format::comment_out(text, module.line)
        })?;
        if let Some(edit) = edit {
            view.apply(&edit);
            finding.edits.push(edit);
            finding.remedy = Remedy::Automatic;
        }
    }
    if finding.evidence.is_empty() {
        return Ok(None);
    }
    finding
        .evidence
        .push(evidence(unit, None, "asks for mounts of its own"));
    Ok(Some(finding))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;

    #[test]
    fn modules_that_cannot_do_their_work() {
        let lines = "session optional pam_keyinit.so revoke\nsession required pam_keyinit.so force\nsession required pam_namespace.so\n-session optional pam_systemd.so\n";
        let tree = Tree::new()
            .elf("/usr/lib/systemd/systemd", "systemd 252 running in")
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", lines)
            .file(
                "/usr/lib/systemd/system/systemd-logind.service",
                "[Service]\n",
            );
        assert!(diagnose_for(&tree, &offers(), "pam-session").is_empty());
        let mut strict = offers();
        (strict.has_keyring, strict.may_mount) = (false, false);
        let found = diagnose_for(&tree, &strict, "pam-session");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].evidence[0].line, Some(2));
        mends(&tree, &strict, &Wishes::default(), "pam-session");
        let masked = tree.link("/etc/systemd/system/systemd-logind.service", "/dev/null");
        assert_eq!(diagnose_for(&masked, &strict, "pam-session").len(), 2);
    }
}
