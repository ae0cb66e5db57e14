//! SELinux is configured to be enforced, in a machine that has none.

use super::{Case, Rule, RuleMeta};
use crate::reading::{evidence, optional};
use crate::{Result, edit};
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::contains;
use repot_rootfs::format::assignments;

#[derive(Debug)]
pub(crate) struct SeLinux;

static META: RuleMeta = RuleMeta {
    id: "selinux",
    severity: Severity::NoBoot,
    summary: "SELinux is to be enforced, which a machine in a container cannot do",
    explain: "**Symptom**: `Mount failed for selinuxfs on /sys/fs/selinux`, `Unable to load SELinux Policy. Machine is in enforcing mode. \
Halting now.`, and PID 1 ends.\n\n**Cause**: a policy is loaded into the kernel, which is the host's: a machine can load none. sysvinit and \
upstart do not go on without one if `/etc/selinux/config` says `enforcing` and the host's kernel has SELinux; systemd skips it in a \
container.\n\n**What repot does**: it sets `SELINUX=disabled` where the init would halt.\n\n**By hand**: the same. `/.autorelabel` does \
nothing in a machine, since whatever looks at it asks first whether SELinux is on, and neither does pam_selinux.",
    sources: &[
        "selinux_config(5), selinux(8)",
        "sysvinit src/init.c, WITH_SELINUX; libselinux src/load_policy.c, selinux_init_load_policy()",
        "policycoreutils selinux-autorelabel-generator.sh: only `if selinuxenabled`",
    ],
};

const CONFIG: &str = "/etc/selinux/config";

/// An init has a megabyte at most.
const INIT_BYTES: u64 = 4 << 20;

impl Rule for SeLinux {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        let text = case.tree.text(CONFIG)?.unwrap_or_default();
        let values = assignments::parse(&text);
        let mode = assignments::get(&values, "SELINUX").filter(|found| found.value == "enforcing");
        let Some(mode) = mode else {
            return Ok(Vec::new());
        };
        let head =
            optional(case.tree.root().read_head(&init.resolved, INIT_BYTES))?.unwrap_or_default();
        if !contains(&head, "Unable to load SELinux Policy") {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            "SELinux is to be enforced, and no policy can be loaded",
            "Unable to load SELinux Policy. Machine is in enforcing mode. Halting now.",
        );
        // Where the host's kernel has no SELinux, libselinux passes it over.
        finding.certainty = Certainty::Possible;
        finding.cause = format!(
            "{} loads a policy before anything else, and ends without one where the host's kernel has SELinux",
            init.name
        );
        finding.evidence = vec![evidence(CONFIG, Some(mode.line), "SELINUX=enforcing")];
        let why = "the kernel's policy is the host's";
        match edit::rewrite(case.tree, CONFIG, why, |text| {
            assignments::set(text, "SELINUX", "disabled")
        })? {
            Some(edit) => {
                finding.remedy = Remedy::Automatic;
                finding.edits.push(edit);
            }
            None => finding.hint = Some(format!("put SELINUX=disabled into {CONFIG}")),
        }
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Severity};

    #[test]
    fn no_policy_is_asked_for() {
        let tree = |init: &str| {
            Tree::new().elf("/sbin/init", init).file(
                "/etc/selinux/config",
                "# x\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
            )
        };
        let strict = tree("SysV init version\0Unable to load SELinux Policy. Machine");
        let found = diagnose_for(&strict, &offers(), "selinux");
        assert_eq!(
            (found[0].severity, found[0].evidence[0].line),
            (Severity::NoBoot, Some(2))
        );
        let Change::Write { text, .. } = &found[0].edits[0].change else {
            panic!("{found:?}")
        };
        assert_eq!(text, "# x\nSELINUX=disabled\nSELINUXTYPE=targeted\n");
        mends(&strict, &offers(), &Wishes::default(), "selinux");
        // Whoever passes it over needs no edit, and neither does a relabelling that never comes.
        let mild = tree("SysV init version").file("/.autorelabel", "");
        assert!(diagnose_for(&mild, &offers(), "selinux").is_empty());
        let off = strict.file("/etc/selinux/config", "SELINUX=permissive\n");
        assert!(diagnose_for(&off, &offers(), "selinux").is_empty());
    }
}
