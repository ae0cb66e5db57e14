//! The links `/bin`, `/sbin`, `/lib`, `/lib64` of a merged `/usr` are missing.

use super::{Case, Rule, RuleMeta, absent};
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct TopLinks;

static META: RuleMeta = RuleMeta {
    id: "top-links",
    severity: Severity::NoBoot,
    summary: "/bin, /sbin, /lib or /lib64 is missing beside a merged /usr",
    explain: "**Symptom**: `Failed to exec /sbin/init: No such file or directory`, although the file is there: the kernel looks for the \
program's loader in `/lib64`, for a script's shell in `/bin`.\n\n**Cause**: since distributions have merged `/bin`, `/sbin` and `/lib*` \
into `/usr`, these are symlinks. A copy that leaves symlinks out, or one of `/usr` alone, loses them.\n\n**What repot does**: it makes \
those that the tree needs.\n\n**By hand**: `for d in bin sbin lib lib64; do ln -s usr/$d TREE/$d; done`.",
    sources: &[
        "file-hierarchy(7); systemd.io/THE_CASE_FOR_THE_USR_MERGE",
        "execve(2), ENOENT: \"the ELF interpreter does not exist\"",
    ],
};

impl Rule for TopLinks {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let tree = case.tree;
        // Only where programs are in /usr can the others be links to it.
        let shells = ["/usr/bin/sh", "/usr/bin/env"];
        if !shells.iter().any(|path| tree.symlink_kind(path).is_some()) {
            return Ok(Vec::new());
        }
        let mut finding = META.finding("", "Failed to exec /sbin/init: No such file or directory");
        let mut missing = Vec::new();
        for name in ["bin", "sbin", "lib", "lib64"] {
            let (top, inside) = (format!("/{name}"), format!("/usr/{name}"));
            if tree.symlink_kind(&top).is_some() || !tree.is_dir(&inside) {
                continue;
            }
            // Not every distribution has /lib64: only a loader in it makes it missed.
            let has_loader = || -> Result<bool> {
                Ok(tree
                    .names(&inside)?
                    .iter()
                    .any(|name| name.starts_with("ld-")))
            };
            if name == "lib64" && !has_loader()? {
                continue;
            }
            let why = "programs and loaders are looked for there";
            finding
                .edits
                .push(edit::link(tree, &top, &format!("usr/{name}"), why));
            finding.evidence.push(absent(&top));
            finding.evidence.push(evidence(&inside, None, "is there"));
            missing.push(top);
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        finding.summary = format!("the tree has lost {}", missing.join(", "));
        finding.cause = "they are links into /usr, and were not copied".into();
        finding.remedy = Remedy::Automatic;
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;

    fn tree() -> Tree {
        Tree::new()
            .elf("/usr/bin/sh", "")
            .elf("/usr/sbin/init", "SysV init version")
            .file("/usr/lib64/ld-linux-x86-64.so.2", "")
            .dir("/usr/lib")
    }

    #[test]
    fn lost_links_come_back() {
        let found = diagnose_for(&tree(), &offers(), "top-links");
        assert_eq!(found[0].edits.len(), 4);
        mends(&tree(), &offers(), &Wishes::default(), "top-links");
    }

    #[test]
    fn other_layouts_are_fine() {
        let whole = tree()
            .link("/bin", "usr/bin")
            .link("/sbin", "usr/sbin")
            .link("/lib", "usr/lib")
            .link("/lib64", "usr/lib64");
        assert!(diagnose_for(&whole, &offers(), "top-links").is_empty());
        let split = Tree::new()
            .elf("/bin/sh", "")
            .link("/usr/bin/env", "../../bin/env")
            .dir("/sbin")
            .dir("/lib")
            .dir("/usr/sbin")
            .dir("/usr/lib64");
        assert!(diagnose_for(&split, &offers(), "top-links").is_empty());
        let store = Tree::new().dir("/gnu/store");
        assert!(diagnose_for(&store, &offers(), "top-links").is_empty());
    }
}
