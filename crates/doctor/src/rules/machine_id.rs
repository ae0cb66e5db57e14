//! The machine ID: one that clones share, or one that cannot be written.

use super::{Case, Rule, RuleMeta};
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Certainty, Change, Evidence, Finding, Remedy, Severity};
use repot_rootfs::FileKind;

#[derive(Debug)]
pub(crate) struct MachineId;

static META: RuleMeta = RuleMeta {
    id: "machine-id",
    severity: Severity::Degraded,
    summary: "the machine ID is shared by clones, or cannot be written",
    explain: "**Symptom**: two machines get one DHCP lease and one journal; or `Failed to get machine-ID: No such file or directory` from \
programs that ask for it. The boot itself goes through with an ID that is kept in memory and forgotten.\n\n**Cause**: where `/etc/machine-id` is empty or missing, systemd takes over `/var/lib/dbus/machine-id`, so a copy left there makes \
all clones one machine, although the ID was cleared. A directory, or a link that leads nowhere, cannot be written.\n\n**What repot does**: it \
makes D-Bus' file a link to the other, and puts an empty file where none can be kept.\n\n**By hand**: `: >TREE/etc/machine-id; ln -sf \
/etc/machine-id TREE/var/lib/dbus/machine-id`. A valid ID in `/etc/machine-id` itself is left alone: it may well be this system's own.",
    sources: &[
        "machine-id(5); systemd-machine-id-setup(1)",
        "systemd src/shared/machine-id-setup.c, acquire_machine_id()",
    ],
};

const FILE: &str = "/etc/machine-id";
const DBUS: &str = "/var/lib/dbus/machine-id";

impl Rule for MachineId {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let is_systemd = case
            .facts
            .init
            .as_ref()
            .is_some_and(|init| init.id.0 == "systemd");
        let is_store = case.tree.is_dir("/nix/store");
        if !is_systemd || is_store {
            return Ok(Vec::new());
        }
        let kind = case.tree.kind(FILE);
        let text = case.tree.text(FILE)?;
        let content = text.as_deref().map(str::trim);
        let mut findings = Vec::new();
        // A missing file is made; what it means for the first boot is another rule's.
        if kind != Some(FileKind::File) && case.tree.symlink_kind(FILE).is_some() {
            findings.push(unwritable(case, kind));
        }
        let own = content.filter(|id| id.len() == 32);
        findings.extend(clone(case, own)?);
        Ok(findings)
    }
}

/// Something that is no file, and no place for one.
fn unwritable(case: &Case<'_>, kind: Option<FileKind>) -> Finding {
    let seen = match (kind, case.tree.read_link(FILE)) {
        (Some(kind), _) => format!("a {kind}"),
        (None, Some(to)) => format!("a link to {to}, which does not exist"),
        (None, None) => "cannot be read".to_owned(),
    };
    let mut finding = META.finding(
        format!("{FILE} is {seen}"),
        "Failed to get machine-ID: No such file or directory",
    );
    finding.certainty = Certainty::Likely;
    finding.cause = "systemd can neither read an ID there nor write one".into();
    finding.evidence = vec![evidence(FILE, None, &seen)];
    finding.remedy = Remedy::Automatic;
    let why = "an empty file has systemd make an ID";
    finding
        .edits
        .push(edit::remove(case.tree, FILE, "no ID can be kept there"));
    let mut file = edit::remove(case.tree, FILE, why);
    file.change = Change::Write {
        text: String::new(),
        mode: Some(0o444),
    };
    finding.edits.push(file);
    finding
}

/// The copy that D-Bus keeps.
fn clone(case: &Case<'_>, own: Option<&str>) -> Result<Option<Finding>> {
    // A link to the other one is how it should be.
    if case.tree.symlink_kind(DBUS) != Some(FileKind::File) {
        return Ok(None);
    }
    let text = case.tree.text(DBUS)?.unwrap_or_default();
    let id = text.trim();
    if id.len() != 32 || own == Some(id) {
        return Ok(None);
    }
    let seen = |path: &str, id: &str| -> Evidence {
        evidence(
            path,
            Some(1),
            &format!("{}...", id.get(..8).unwrap_or_default()),
        )
    };
    let mut finding = META.finding(
        "D-Bus keeps a machine ID of its own, which every copy of this tree takes over",
        "(none: machines that are copies get the same DHCP lease, journal and D-Bus identity)",
    );
    finding.cause = match own {
        Some(_) => "the two files differ, and programs get the one or the other".into(),
        None => format!("where {FILE} is empty, systemd takes the ID of {DBUS}"),
    };
    finding.evidence = vec![seen(DBUS, id)];
    finding.evidence.extend(own.map(|own| seen(FILE, own)));
    finding.remedy = Remedy::Automatic;
    finding.edits.push(edit::link(
        case.tree,
        DBUS,
        FILE,
        "one file, and one ID for each machine",
    ));
    Ok(Some(finding))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::Severity;

    const ID: &str = "0123456789abcdef0123456789abcdef\n";

    fn tree() -> Tree {
        Tree::new()
            .elf("/usr/lib/systemd/systemd", "systemd 252 running in")
            .link("/sbin/init", "/usr/lib/systemd/systemd")
    }

    #[test]
    fn ids_that_systemd_makes_are_fine() {
        for fine in [
            tree(),
            tree().file("/etc/machine-id", ""),
            tree()
                .file("/etc/machine-id", ID)
                .link("/var/lib/dbus/machine-id", "/etc/machine-id"),
        ] {
            assert!(diagnose_for(&fine, &offers(), "machine-id").is_empty());
        }
    }

    #[test]
    fn what_cannot_be_written_is_replaced() {
        for tree in [
            tree().link("/etc/machine-id", "/nowhere/id"),
            tree().dir("/etc/machine-id"),
        ] {
            mends(&tree, &offers(), &Wishes::default(), "machine-id");
        }
    }

    #[test]
    fn clones_do_not_share_an_id() {
        for own in ["", "ffffffffffffffffffffffffffffffff\n"] {
            let tree = tree()
                .file("/etc/machine-id", own)
                .file("/var/lib/dbus/machine-id", ID);
            let found = diagnose_for(&tree, &offers(), "machine-id");
            assert_eq!(found[0].severity, Severity::Degraded);
            assert!(!format!("{found:?}").contains(ID.trim()));
            mends(&tree, &offers(), &Wishes::default(), "machine-id");
        }
        let same = tree()
            .file("/etc/machine-id", ID)
            .file("/var/lib/dbus/machine-id", ID);
        assert!(diagnose_for(&same, &offers(), "machine-id").is_empty());
    }
}
