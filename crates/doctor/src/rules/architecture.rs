//! The tree is for another architecture than the host.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::reading::evidence;
use repot_model::{Arch, Certainty, Finding, Severity};

#[derive(Debug)]
pub(crate) struct Architecture;

static META: RuleMeta = RuleMeta {
    id: "architecture",
    severity: Severity::NoBoot,
    summary: "the tree's programs are for another architecture than this host",
    explain: "**Symptom**: `exec /sbin/init: exec format error`.\n\n**Cause**: the tree was made for another kind of processor.\n\n**What \
can be done**: a tree for this processor. `repot boot` starts nothing under emulation yet, natively or elsewhere. By hand, other container systems \
run such a tree where the kernel calls an emulator by itself (binfmt_misc with the flag `F`, so that it works inside a container): \
`apt-get install qemu-user-static` or `qemu-user-binfmt`. repot looks at the tree only and does not know whether one is set up, so \
this is likely, not certain.",
    sources: &[
        "execve(2), ENOEXEC",
        "binfmt_misc(5), Documentation/admin-guide/binfmt-misc.rst",
    ],
};

impl Rule for Architecture {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(arch) = case.facts.arch else {
            return Ok(Vec::new());
        };
        if arch.runs_on(Arch::host()) {
            return Ok(Vec::new());
        }
        let init = case.facts.init.as_ref();
        let path = init.map_or("/bin/sh", |init| init.resolved.as_str());
        let mut finding = META.finding(
            format!("the tree is for {arch}, this host is {}", Arch::host()),
            format!("exec {path}: exec format error"),
        );
        finding.certainty = Certainty::Likely;
        finding.cause = "the kernel cannot execute programs of that architecture unless an emulator is registered".into();
        finding.evidence = vec![evidence(path, None, &format!("ELF program for {arch}"))];
        finding.hint = Some(match arch.qemu() {
            Some(name) => format!(
                "take a tree for {}, or a host for {arch}: repot starts nothing under emulation (qemu-{name}) yet",
                Arch::host()
            ),
            None => format!("take a tree for {}, or a host for {arch}", Arch::host()),
        });
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, offers};
    use crate::rules::Wishes;
    use repot_model::Arch;

    #[test]
    fn foreign_trees_are_told() {
        let tree = Tree::new().elf("/sbin/init", "SysV init version");
        let count = |arch: Option<Arch>| {
            let mut facts = tree.facts();
            facts.arch = arch;
            let found =
                crate::diagnose(&tree.root(), &facts, &offers(), &Wishes::default(), &|_| {
                    true
                });
            let mut found = found.findings.into_iter();
            found.find(|finding| finding.rule.0 == "architecture")
        };
        assert!(count(Some(Arch::host())).is_none() && count(None).is_none());
        let found = count(Some(Arch::S390x)).unwrap();
        assert!(found.hint.unwrap().contains("qemu-s390x"));
    }
}
