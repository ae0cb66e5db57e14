//! `/etc/mtab` is a file that nobody keeps up to date.

use super::{Case, Rule, RuleMeta};
use crate::init::systemd_version;
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::FileKind;

#[derive(Debug)]
pub(crate) struct Mtab;

static META: RuleMeta = RuleMeta {
    id: "mtab",
    severity: Severity::Cosmetic,
    summary: "/etc/mtab is a file that lists the mounts of another machine",
    explain: "**Symptom**: `/etc/mtab is not a symlink or not pointing to /proc/self/mounts. This is not supported anymore.`; programs that read it list the \
disks of the computer that the tree was copied from: mount(8) and df(1) until about 2013, scripts until today.\n\n**Cause**: mount(8) once kept its list \
in that file. Copied along, it lists what is mounted elsewhere.\n\n**What repot does**: it makes it the link that it is in every \
distribution of the last ten years.\n\n**By hand**: `ln -sf ../proc/self/mounts TREE/etc/mtab`.",
    sources: &[
        "mount(8), \"/etc/mtab\"",
        "systemd src/core/main.c, test_mtab() (until 246)",
    ],
};

const FILE: &str = "/etc/mtab";

impl Rule for Mtab {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        if case.tree.symlink_kind(FILE) != Some(FileKind::File) {
            return Ok(Vec::new());
        }
        let text = case.tree.text(FILE)?.unwrap_or_default();
        // Old inits write it themselves; what they find there of disks is from another machine.
        let stale = (1u32..)
            .zip(text.lines())
            .find(|(_, line)| line.starts_with("/dev/"));
        let is_systemd = init.id.0 == "systemd";
        // Since then its tmpfiles.d/etc.conf makes the link at each boot, and it says nothing.
        let version = systemd_version(init.version.as_deref());
        if is_systemd && version.is_some_and(|version| version >= 246) {
            return Ok(Vec::new());
        }
        if stale.is_none() && !is_systemd {
            return Ok(Vec::new());
        }
        let symptom = match is_systemd {
            true => {
                "/etc/mtab is not a symlink or not pointing to /proc/self/mounts. This is not supported anymore."
            }
            false => "(programs that read it list disks that are not there)",
        };
        let mut finding = META.finding(
            "/etc/mtab is a file, and not the kernel's list of mounts",
            symptom,
        );
        finding.certainty = Certainty::Likely;
        finding.cause =
            "it was copied from a running system, or is from the time when mount kept it".into();
        finding.evidence = vec![match stale {
            Some((line, seen)) => evidence(FILE, Some(line), seen),
            None => evidence(FILE, None, "a regular file"),
        }];
        finding.remedy = Remedy::Automatic;
        let why = "the kernel knows what is mounted";
        finding
            .edits
            .push(edit::link(case.tree, FILE, "../proc/self/mounts", why));
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;

    #[test]
    fn a_file_becomes_a_link() {
        let stale = "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n";
        let tree =
            |init: &str, text: &str| Tree::new().elf("/sbin/init", init).file("/etc/mtab", text);
        let old = tree("SysV init version", stale);
        let found = diagnose_for(&old, &offers(), "mtab");
        assert_eq!(found[0].evidence[0].line, Some(2));
        mends(&old, &offers(), &Wishes::default(), "mtab");
        assert!(diagnose_for(&tree("SysV init version", ""), &offers(), "mtab").is_empty());
        let systemd = Tree::new()
            .elf("/usr/lib/systemd/systemd", "systemd 219 running in")
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .file("/etc/mtab", "");
        mends(&systemd, &offers(), &Wishes::default(), "mtab");
        let new = Tree::new()
            .elf(
                "/usr/lib/systemd/systemd",
                "systemd 252 running in system mode.",
            )
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .file("/etc/mtab", stale);
        assert!(diagnose_for(&new, &offers(), "mtab").is_empty());
        let link = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .link("/etc/mtab", "/proc/mounts");
        assert!(diagnose_for(&link, &offers(), "mtab").is_empty());
    }
}
