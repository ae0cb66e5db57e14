//! The init can use no cgroup layout that the engine gives.
//!
//! Symptom: `Failed to mount cgroup at /sys/fs/cgroup/systemd: Operation not permitted` (systemd before 230 without the v1
//! hierarchy), `Detected unsupported legacy cgroup hierarchy, refusing execution.` (258 and later with it).

use super::{Case, Rule, RuleMeta};
use crate::Result;
use repot_model::{CgroupVersion, Finding, Severity};

#[derive(Debug)]
pub(crate) struct Cgroups;

static META: RuleMeta = RuleMeta {
    id: "cgroup-version",
    severity: Severity::NoBoot,
    summary: "the engine has no cgroup layout that this systemd can use",
    explain: "systemd cannot do without cgroups. Before version 230 it knows only the v1 hierarchy named `systemd`; 256 refuses v1 \
unless told otherwise, 258 has no v1 any more. An engine that shows the host's layout and nothing else cannot boot the one on a v2 host \
and the other on a v1 host.\n\nrepot's own runtime mounts either for a machine, whatever the host uses. For another engine: `repot \
boot --on native`; or boot the host with `systemd.unified_cgroup_hierarchy=0` or `=1`; with crun, the annotation \
`run.oci.systemd.force_cgroup_v1=/sys/fs/cgroup`.",
    sources: &[
        "systemd NEWS of 226, 230, 256, 258",
        "canonical/lxd#9228, lxc/lxc#4072, systemd/systemd#19245",
    ],
};

impl Rule for Cgroups {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (Some(init), Some(needs)) = (&case.facts.init, case.needs) else {
            return Ok(Vec::new());
        };
        let given = &case.offers.cgroups;
        let fits = needs.cgroups.iter().any(|wanted| given.contains(wanted));
        if !case.offers.is_pid1 || needs.cgroups.is_empty() || fits {
            return Ok(Vec::new());
        }
        let version = init.version.as_deref().unwrap_or("of an unknown version");
        let (summary, symptom) = match (needs.cgroups.first(), given.is_empty()) {
            (_, true) => (
                format!(
                    "{} needs a cgroup tree that it may write, and gets none",
                    init.name
                ),
                "Failed to create /init.scope control group: Read-only file system",
            ),
            (Some(CgroupVersion::V1Systemd), false) => (
                format!("{} {version} knows only cgroup v1", init.name),
                "Failed to mount cgroup at /sys/fs/cgroup/systemd: Operation not permitted",
            ),
            (Some(CgroupVersion::V2) | None, false) => (
                format!("{} {version} refuses cgroup v1", init.name),
                "Detected unsupported legacy cgroup hierarchy, refusing execution.",
            ),
        };
        let mut finding = META.finding(summary, symptom);
        finding.evidence = init.evidence.clone();
        let (cause, hint) = if given.is_empty() {
            (
                "the engine has no cgroup here in which this user may make any",
                "as root there is one; else one has to be delegated: `systemd-run --user --scope -p Delegate=yes repot boot ...`, \
                 or what `repot boot` says",
            )
        } else {
            (
                "the engine shows the host's layout and has no other",
                "repot's own runtime mounts the layout that is needed: `repot boot --on native`",
            )
        };
        finding.cause = cause.into();
        finding.hint = Some(hint.into());
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for};
    use repot_model::CgroupVersion::{V1Systemd, V2};

    #[test]
    fn old_and_new_systemd() {
        let tree = |version: u32| {
            Tree::new()
                .elf(
                    "/lib/systemd/systemd",
                    &format!("systemd {version} running in x"),
                )
                .link("/sbin/init", "/lib/systemd/systemd")
        };
        for (version, given, symptom) in [
            (219, vec![V2], "Failed to mount cgroup"),
            (258, vec![V1Systemd], "Detected unsupported legacy"),
            (252, vec![], "Failed to create /init.scope"),
            (219, vec![V2, V1Systemd], ""),
            (252, vec![V1Systemd], ""),
        ] {
            let mut offers = bare_offers();
            offers.cgroups = given;
            let found = diagnose_for(&tree(version), &offers, "cgroup-version");
            match found.first() {
                Some(finding) => assert!(finding.symptom.contains(symptom) && !symptom.is_empty()),
                None => assert!(symptom.is_empty(), "{version}"),
            }
        }
        let mut none = bare_offers();
        none.cgroups.clear();
        let other = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "");
        assert!(diagnose_for(&other, &none, "cgroup-version").is_empty());
    }
}
