//! pam_loginuid is required, and the engine does not let it write the audit login ID.

use super::{Case, Rule, RuleMeta};
use crate::login::pam;
use crate::{Result, edit};
use repot_model::{Finding, Remedy, Severity};
use repot_rootfs::format::pam as format;

#[derive(Debug)]
pub(crate) struct PamLoginuid;

static META: RuleMeta = RuleMeta {
    id: "pam-loginuid",
    severity: Severity::NoLogin,
    summary: "pam_loginuid is required, and the engine does not let it set the audit login ID",
    explain: "**Symptom**: the login ends at once after the right password; `Cannot make/remove an entry for the specified session`, and in \
the log `Error writing /proc/self/loginuid: Operation not permitted`. cron and sshd fail alike.\n\n**Cause**: pam_loginuid writes the \
account's ID into `/proc/self/loginuid`, for auditing. The kernel allows that once, or with CAP_AUDIT_CONTROL: where the engine was started \
from somebody's session, the ID is set already, and containers lack the capability. In a user namespace the module ignores the failure.\n\n\
**What repot does**: it makes the line `optional`, so that it is tried and its failure ignored.\n\n**By hand**: the same, or a `#` \
before the line, as the LXC recipes of the RHEL family do.",
    sources: &[
        "pam_loginuid(8), pam_loginuid.c",
        "Linux kernel/audit.c, audit_set_loginuid_perm()",
        "lxc/lxc#661, phusion/baseimage-docker#345",
    ],
};

impl Rule for PamLoginuid {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.offers.sets_loginuid {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            "pam_loginuid cannot set the audit login ID there, and login depends on it",
            "Cannot make/remove an entry for the specified session",
        );
        finding.cause = "the kernel lets nobody change /proc/self/loginuid once it is set, unless with CAP_AUDIT_CONTROL".into();
        relax(case, &mut finding, |module| module.is("pam_loginuid.so"))?;
        Ok(Vec::from_iter(
            (!finding.evidence.is_empty()).then_some(finding),
        ))
    }
}

/// Makes session lines `optional` where the login fails if their module returns `session_err`. Without such lines the finding is left
/// without evidence.
pub(crate) fn relax(
    case: &Case<'_>,
    finding: &mut Finding,
    is_meant: impl Fn(&pam::Module) -> bool,
) -> Result<()> {
    let stack = pam::stack(case.tree, case.facts)?;
    let mut view = case.tree.clone();
    for module in stack.iter().flat_map(|stack| &stack.modules) {
        if module.kind != "session" || !is_meant(module) || !module.is_fatal("session_err") {
            continue;
        }
        finding.evidence.push(module.evidence());
        let name = module.module.rsplit('/').next().unwrap_or_default();
        let why = format!("a failure of {name} no longer ends the login");
        let edit = edit::rewrite(&view, &module.path, &why, |text| {
            format::set_control(text, module.line, "optional")
                .unwrap_or_else(|| format::comment_out(text, module.line))
        })?;
        match edit {
            Some(edit) => {
                view.apply(&edit);
                finding.edits.push(edit);
                finding.remedy = Remedy::Automatic;
            }
            None => {
                finding.hint = Some(format!(
                    "put `optional` into line {} of {}",
                    module.line, module.path
                ))
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::Change;

    #[test]
    fn required_lines_become_optional() {
        let tree = |session: &str| {
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .elf("/bin/login", "util-linux\0libpam.so.0")
                .file("/etc/pam.d/login", session)
        };
        let mut strict = offers();
        strict.sets_loginuid = false;
        let required =
            tree("# x\nsession    required\tpam_loginuid.so # why\nsession include other\n").file(
                "/etc/pam.d/other",
                "session required \\\n pam_loginuid.so\n",
            );
        assert!(diagnose_for(&required, &offers(), "pam-loginuid").is_empty());
        let found = diagnose_for(&required, &strict, "pam-loginuid");
        assert_eq!(found[0].evidence.len(), 2);
        let Change::Write { text, .. } = &found[0].edits[0].change else {
            panic!("{found:?}")
        };
        assert_eq!(
            text,
            "# x\nsession    optional\tpam_loginuid.so # why\nsession include other\n"
        );
        mends(&required, &strict, &Wishes::default(), "pam-loginuid");
        for fine in [
            "session optional pam_loginuid.so\n",
            "session [default=ignore] pam_loginuid.so\n",
        ] {
            assert!(diagnose_for(&tree(fine), &strict, "pam-loginuid").is_empty());
        }
    }
}
