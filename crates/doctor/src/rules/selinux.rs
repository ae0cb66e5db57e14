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
    explain: "**Symptom**: `Unable to load SELinux Policy. Machine is in enforcing mode. Halting now.`, and PID 1 ends; or, with \
`/.autorelabel`, `*** Warning -- SELinux targeted policy relabel is required.` and a reboot, again and again.\n\n**Cause**: a policy is loaded \
into the kernel, which is the host's: a machine can load none. sysvinit and upstart do not go on if `/etc/selinux/config` says `enforcing`; \
systemd skips it in a container, if it knows that it is in one. pam_selinux does nothing where SELinux is off.\n\n**What repot does**: it sets \
`SELINUX=disabled` and takes `/.autorelabel` away.\n\n**By hand**: the same.",
    sources: &[
        "selinux_config(5), selinux(8)",
        "sysvinit src/init.c, WITH_SELINUX; libselinux src/load_policy.c, selinux_init_load_policy()",
        "policycoreutils selinux-autorelabel-generator.sh",
    ],
};

const CONFIG: &str = "/etc/selinux/config";
const RELABEL: &str = "/.autorelabel";

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
        let mut findings = Vec::new();
        let text = case.tree.text(CONFIG)?.unwrap_or_default();
        let values = assignments::parse(&text);
        let mode = assignments::get(&values, "SELINUX").filter(|found| found.value == "enforcing");
        if let Some(mode) = mode {
            let head = optional(case.tree.root().read_head(&init.resolved, INIT_BYTES))?
                .unwrap_or_default();
            let halts = contains(&head, "Unable to load SELinux Policy");
            let mut finding = META.finding(
                "SELinux is to be enforced, and no policy can be loaded",
                "Unable to load SELinux Policy. Machine is in enforcing mode. Halting now.",
            );
            if halts {
                // Where the host's kernel has no SELinux, libselinux passes it over (a Debian 12 with `enforcing` boots on such a host).
                finding.certainty = Certainty::Possible;
                finding.cause = format!(
                    "{} loads a policy before anything else, and ends without one where the host's kernel has SELinux",
                    init.name
                );
            } else {
                finding.severity = Severity::Cosmetic;
                finding.certainty = Certainty::Possible;
                finding.cause = format!(
                    "{} passes it over in a container, but scripts and programs may ask",
                    init.name
                );
            }
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
            findings.push(finding);
        }
        if case.tree.symlink_kind(RELABEL).is_some() {
            let mut finding = META.finding(
                "the whole tree is to be relabelled at boot",
                "*** Warning -- SELinux targeted policy relabel is required.",
            );
            finding.severity = Severity::Degraded;
            finding.certainty = Certainty::Possible;
            finding.cause = "labels cannot be set in a machine, and the reboot that follows finds the file again".into();
            finding.evidence = vec![evidence(RELABEL, None, "is there")];
            finding.remedy = Remedy::Automatic;
            let why = "nothing is to be relabelled";
            finding.edits.push(edit::remove(case.tree, RELABEL, why));
            findings.push(finding);
        }
        Ok(findings)
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
        let mild = tree("SysV init version").file("/.autorelabel", "");
        let found = diagnose_for(&mild, &offers(), "selinux");
        assert_eq!((found.len(), found[0].severity), (2, Severity::Cosmetic));
        mends(&mild, &offers(), &Wishes::default(), "selinux");
        let off = mild.file("/etc/selinux/config", "SELINUX=permissive\n");
        assert_eq!(diagnose_for(&off, &offers(), "selinux").len(), 1);
    }
}
