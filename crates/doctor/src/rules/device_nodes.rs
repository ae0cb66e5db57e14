//! The engine gives no `/dev`, and the tree's own holds no devices.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::reading::evidence;
use repot_model::{Finding, Severity};
use repot_rootfs::FileKind;

#[derive(Debug)]
pub(crate) struct DeviceNodes;

static META: RuleMeta = RuleMeta {
    id: "device-nodes",
    severity: Severity::NoBoot,
    summary: "the engine gives no /dev, and the tree has no device nodes, or files in their place",
    explain: "**Symptom**: `/dev/null: Permission denied`, `cannot create /dev/null`, `Couldn't open /dev/urandom`; a `/dev/null` that grows.\n\n\
**Cause**: an engine that mounts nothing on `/dev` (chroot) shows the tree's own. Archives leave device nodes out, or were unpacked by somebody who \
may not make them; then the first `>/dev/null` makes a regular file there. Where the engine does mount `/dev`, static nodes of the tree are \
hidden and do no harm.\n\n**What can be done**: `mount --bind /dev TREE/dev`, or `mknod -m 666 TREE/dev/null c 1 3` and so on. An engine in a \
user namespace may make no device nodes at all.",
    sources: &[
        "null(4), random(4), tty(4), mknod(2) EPERM",
        "Linux Documentation/admin-guide/devices.txt",
    ],
};

/// Devices without which nothing runs, with their numbers.
const NODES: &[(&str, &str)] = &[
    ("/dev/null", "c 1 3"),
    ("/dev/zero", "c 1 5"),
    ("/dev/urandom", "c 1 9"),
    ("/dev/tty", "c 5 0"),
];

impl Rule for DeviceNodes {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.offers.mounts.iter().any(|mount| mount == "/dev") {
            return Ok(Vec::new());
        }
        let mut finding = META.finding("", "/dev/null: Permission denied");
        let mut hint = Vec::new();
        for (path, numbers) in NODES {
            let kind = case.tree.kind(path);
            if kind == Some(FileKind::CharDevice) {
                continue;
            }
            let seen = match kind {
                Some(kind) => format!("a {kind}, not a device"),
                None => "does not exist".to_owned(),
            };
            finding.evidence.push(evidence(path, None, &seen));
            let clear = if kind.is_some() {
                format!("rm TREE{path}; ")
            } else {
                String::new()
            };
            hint.push(format!("{clear}mknod -m 666 TREE{path} {numbers}"));
        }
        if finding.evidence.is_empty() {
            return Ok(Vec::new());
        }
        finding.summary = format!(
            "{} of the devices that every program needs are not there",
            finding.evidence.len()
        );
        finding.cause =
            "the engine mounts nothing on /dev, and the tree was unpacked without device nodes"
                .into();
        finding.hint = Some(format!(
            "mount --bind /dev TREE/dev, or: {}",
            hint.join("; ")
        ));
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, offers};

    #[test]
    fn only_where_the_engine_gives_none() {
        let tree = Tree::new().file("/dev/null", "");
        assert!(diagnose_for(&tree, &offers(), "device-nodes").is_empty());
        let mut bare = offers();
        bare.mounts.clear();
        let found = diagnose_for(&tree, &bare, "device-nodes");
        assert_eq!(found[0].evidence.len(), 4);
        assert!(
            found[0]
                .hint
                .as_ref()
                .unwrap()
                .contains("rm TREE/dev/null; mknod -m 666 TREE/dev/null c 1 3")
        );
    }
}
