//! Directories on which the engine or the init mounts, or which every program takes for granted, are missing.

use super::{Case, Rule, RuleMeta};
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Change, Demanded, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct MountPoints;

static META: RuleMeta = RuleMeta {
    id: "mount-points",
    severity: Severity::NoBoot,
    summary: "/dev, /proc, /sys, /run or /tmp is missing",
    explain: "**Symptom**: the engine refuses (`Missing /proc`), cannot mount (`mkdir /proc: read-only file system`), or the init says \
`Failed to mount tmpfs at /run` and stops; programs fail with `mktemp: failed to create file via template '/tmp/...'`.\n\n\
**Cause**: archives of a root file system are often made with these directories left out (`tar --exclude=/proc`), because nothing in \
them was to be kept.\n\n**What repot does**: it makes them, `/tmp` with mode 1777.\n\n**By hand**: \
`mkdir -p TREE/{dev,proc,sys,run,tmp}; chmod 1777 TREE/tmp`.",
    sources: &[
        "hier(7), file-hierarchy(7)",
        "The Container Interface (systemd.io/CONTAINER_INTERFACE)",
        "lxd/instance: checks /dev, /proc, /sys of an image",
    ],
};

/// The directory and its usual mode.
const POINTS: &[(&str, u32)] = &[
    ("/dev", 0o755),
    ("/proc", 0o555),
    ("/sys", 0o555),
    ("/run", 0o755),
    ("/tmp", 0o1777),
];

impl Rule for MountPoints {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.facts.init.is_none() && case.tree.names("/")?.is_empty() {
            // An empty directory has greater worries.
            return Ok(Vec::new());
        }
        let mut demands = case.offers.demands.iter();
        let demand = demands.find(|demand| demand.what == Demanded::MountPoints);
        let mut finding = META.finding("", "");
        let mut missing = Vec::new();
        for (path, mode) in POINTS {
            // A link to a place that is made at boot (/run -> /var/run) is none of ours.
            let dangles = case.tree.read_link(path).is_some();
            if case.tree.is_dir(path) || (dangles && *path != "/dev") {
                continue;
            }
            let seen = match case.tree.kind(path) {
                Some(kind) => format!("a {kind}"),
                None => "does not exist".to_owned(),
            };
            finding.evidence.push(evidence(path, None, &seen));
            finding.edits.push(edit::made(
                case.tree,
                path,
                Change::Directory { mode: *mode },
                "something is mounted there, or every program takes it for granted",
            ));
            missing.push(*path);
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let demanded = ["/dev", "/proc", "/sys"];
        finding.symptom = match demand {
            Some(demand) if missing.iter().any(|path| demanded.contains(path)) => {
                demand.message.clone()
            }
            Some(_) | None => {
                finding.severity = Severity::Degraded;
                match missing.as_slice() {
                    ["/tmp"] => {
                        "mktemp: failed to create file via template: No such file or directory"
                            .to_owned()
                    }
                    [first, ..] => format!("mount: {first}: mount point does not exist."),
                    [] => String::new(),
                }
            }
        };
        finding.summary = format!("the tree has no {}", missing.join(", "));
        finding.cause = "the archive was made without them, or something else was put there".into();
        finding.remedy = Remedy::Automatic;
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Demand, Demanded, Severity};

    #[test]
    fn missing_ones_are_made() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .dir("/proc")
            .file("/dev", "")
            .link("/run", "var/run");
        let found = diagnose_for(&tree, &offers(), "mount-points");
        assert_eq!(found[0].summary, "the tree has no /dev, /sys, /tmp");
        assert_eq!(found[0].severity, Severity::Degraded);
        mends(&tree, &offers(), &Wishes::default(), "mount-points");
        let mut wanting = offers();
        wanting.demands.push(Demand {
            what: Demanded::MountPoints,
            message: "Missing /dev".into(),
            source: "test".into(),
        });
        let found = diagnose_for(&tree, &wanting, "mount-points");
        assert_eq!(
            (found[0].severity, found[0].symptom.as_str()),
            (Severity::NoBoot, "Missing /dev")
        );
        let whole = ["/dev", "/proc", "/sys", "/run", "/tmp"]
            .iter()
            .fold(Tree::new(), |tree, path| tree.dir(path));
        assert!(diagnose_for(&whole, &wanting, "mount-points").is_empty());
    }
}
