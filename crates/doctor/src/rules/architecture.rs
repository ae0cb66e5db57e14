//! The tree is for another architecture than the host.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::emulation::{Execution, execution};
use crate::reading::evidence;
use repot_model::{Arch, Finding, Severity};

#[derive(Debug)]
pub(crate) struct Architecture;

static META: RuleMeta = RuleMeta {
    id: "architecture",
    severity: Severity::NoBoot,
    summary: "the tree's programs are for another architecture than this host, which has no emulator for them",
    explain: "**Symptom**: `exec /sbin/init: exec format error`.\n\n**Cause**: the tree was made for another kind of processor, and the \
kernel has no emulator for it that works inside a container.\n\n**What can be done**: `apt-get install qemu-user-static binfmt-support` \
(in other distributions `qemu-user-static` or `qemu-user-binfmt`). It registers QEMU with the kernel (binfmt_misc), which from then \
on starts it for each program of that kind, in every engine. The handler must have the flag `F`, as those of that package do: \
the emulator is then opened when it is registered. Without it the kernel looks for the emulator in the tree, at the same path. \
repot reads what is registered in `/proc/sys/fs/binfmt_misc` and says which of all that is missing; `repot doctor --host` \
shows what there is. How such machines fare: docs/how-to/other-architectures.md.",
    sources: &[
        "execve(2), ENOEXEC",
        "Linux, Documentation/admin-guide/binfmt-misc.rst",
    ],
};

impl Rule for Architecture {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let root = case.tree.root();
        let Execution::Impossible { why, hint } =
            execution(root, case.facts, &case.offers.emulators)
        else {
            return Ok(Vec::new());
        };
        let arch = case.facts.arch.map(|arch| arch.to_string());
        let arch = arch.unwrap_or_default();
        let init = case.facts.init.as_ref();
        let path = init.map_or("/bin/sh", |init| init.resolved.as_str());
        let mut finding = META.finding(
            format!("the tree is for {arch}, this host is {}", Arch::host()),
            format!("exec {path}: exec format error"),
        );
        finding.cause = why;
        finding.evidence = vec![evidence(path, None, &format!("ELF program for {arch}"))];
        finding.hint = Some(hint);
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
