//! Something of the host is mounted in the tree, or the tree's file system is read-only.

use super::{Case, Rule, RuleMeta};
use crate::reading::{evidence, optional};
use crate::{Result, View};
use repot_model::{Certainty, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct ForeignMounts;

static META: RuleMeta = RuleMeta {
    id: "foreign-mounts",
    severity: Severity::Degraded,
    summary: "something is mounted in the tree, or its file system is read-only",
    explain: "**Symptom**: `Cannot be run in a chroot() environment`, `mknod: /dev/null: File exists`, two machines that see each other's `/run`; \
or `Read-only file system` from the first program that writes.\n\n**Cause**: somebody has prepared the tree for chroot (`mount --bind /dev \
TREE/dev`) and not undone it: an engine that takes the directory takes what is mounted there along, and removing the tree would remove the \
host's devices. Or the tree is on a read-only file system, such as a squashfs or an ISO image.\n\n**What repot does**: its own machines see \
neither: their root is an overlay, which takes the tree's file system alone and writes elsewhere. Other engines need the mounts undone.\n\n\
**By hand**: `umount -R TREE/proc TREE/sys TREE/dev`.",
    sources: &[
        "mount_namespaces(7); Linux Documentation/filesystems/overlayfs.rst",
        "systemd/systemd#5436, #3695",
    ],
};

/// Where people mount things for chroot.
const PLACES: &[&str] = &["/proc", "/sys", "/dev", "/dev/pts", "/run", "/tmp", "/boot"];

impl Rule for ForeignMounts {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mounted = mounted(case.tree)?;
        if !mounted.is_empty() {
            let mut finding = META.finding(
                format!("something is mounted on {} of the tree", mounted.join(", ")),
                "Cannot be run in a chroot() environment",
            );
            finding.certainty = Certainty::Likely;
            finding.cause = "the tree was prepared for chroot, and that has not been undone".into();
            finding.evidence = mounted
                .iter()
                .map(|path| evidence(path, None, "another file system"))
                .collect();
            let dir = case.tree.root().dir().display().to_string();
            let places: Vec<String> = mounted
                .iter()
                .map(|path| {
                    repot_model::shell_word(&format!("{}{path}", dir.trim_end_matches('/')))
                })
                .collect();
            finding.hint = Some(format!("umount -R {}", places.join(" ")));
            findings.push(finding);
        }
        if optional(case.tree.root().is_read_only())?.unwrap_or(false) {
            findings.push(read_only());
        }
        Ok(findings)
    }
}

fn read_only() -> Finding {
    let mut finding = META.finding(
        "the tree is on a read-only file system",
        "Read-only file system",
    );
    finding.cause = "nothing can be written into it, not even by root".into();
    finding.evidence = vec![evidence("/", None, "mounted read-only")];
    finding.remedy = Remedy::Environment;
    finding
}

fn mounted(view: &View<'_>) -> Result<Vec<&'static str>> {
    let mut mounted: Vec<&str> = Vec::new();
    for path in PLACES {
        let is_below = mounted
            .iter()
            .any(|above| path.starts_with(&format!("{above}/")));
        if !is_below && optional(view.root().is_mount_point(path))?.unwrap_or(false) {
            mounted.push(path);
        }
    }
    Ok(mounted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Tree, diagnose_for, offers};
    use repot_rootfs::RootRead;

    #[test]
    fn mounts_are_seen() {
        let tree = Tree::new().dir("/proc").dir("/dev/pts");
        assert!(diagnose_for(&tree, &offers(), "foreign-mounts").is_empty());
        // The host's own root is a tree with procfs on it.
        let host = RootRead::open(std::path::Path::new("/")).unwrap();
        let found = mounted(&View::new(&host)).unwrap();
        assert!(
            found.contains(&"/proc") && !found.contains(&"/dev/pts"),
            "{found:?}"
        );
        assert_eq!(read_only().remedy, Remedy::Environment);
    }
}
