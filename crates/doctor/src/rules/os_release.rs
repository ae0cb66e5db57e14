//! The engine wants an os-release file that the tree does not have.
//!
//! Symptom: `Directory /x doesn't look like an OS root directory (os-release file is missing). Refusing.` The engine looks
//! into the tree before anything of it runs, so a file that the system makes at its first boot (Guix System) comes too late.

use super::{Case, Rule, RuleMeta, absent};
use crate::Result;
use repot_model::{Change, Demanded, Edit, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct OsRelease;

static META: RuleMeta = RuleMeta {
    id: "os-release",
    severity: Severity::NoBoot,
    summary: "the engine wants an os-release file, and the tree has none",
    explain: "Some engines refuse a directory without `/etc/os-release` or `/usr/lib/os-release`, by which they tell a \
distribution from any other directory. Old distributions never had the file; Guix System and NixOS make it at boot, as a \
link into their store.\n\nrepot lays a minimal file over the tree, made of what it recognised. By hand: \
`printf 'ID=linux\\nNAME=Linux\\n' >TREE/etc/os-release`.",
    sources: &[
        "systemd src/shared/os-util.c, path_is_os_tree()",
        "os-release(5)",
        "systemd/systemd#29185, #8971",
    ],
};

impl Rule for OsRelease {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let demand = case
            .offers
            .demands
            .iter()
            .find(|demand| demand.what == Demanded::OsRelease);
        let Some(demand) = demand else {
            return Ok(Vec::new());
        };
        let places = ["/etc/os-release", "/usr/lib/os-release"];
        if places.iter().any(|path| case.tree.is_file(path)) {
            return Ok(Vec::new());
        }
        let distribution = &case.facts.distribution;
        let mut text = format!(
            "ID={}\nNAME=\"{}\"\n",
            distribution.id,
            distribution.name.replace(['"', '\\', '`', '$', '\n'], "")
        );
        if let Some(version) = &distribution.version {
            text.push_str(&format!("VERSION_ID=\"{}\"\n", version.replace('"', "")));
        }
        let mut finding = META.finding("the tree has no os-release file", &demand.message);
        finding.cause = "the engine takes a directory for a distribution only if it has one".into();
        finding.evidence = places.map(absent).to_vec();
        finding.remedy = Remedy::Automatic;
        // A dangling link stays what it is: the system will make its target.
        let path = if case.tree.symlink_kind("/etc/os-release").is_some() {
            "/usr/lib/os-release"
        } else {
            "/etc/os-release"
        };
        finding.edits.push(Edit {
            path: case.tree.place(path),
            change: Change::Write {
                text,
                mode: Some(0o644),
            },
            why: "the engine looks for it before it starts anything".into(),
        });
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, offers};
    use repot_model::{Change, Demand, Demanded};

    fn offers_with_demand() -> repot_model::Offers {
        let mut offers = offers();
        offers.demands.push(Demand {
            what: Demanded::OsRelease,
            message: "os-release file is missing".into(),
            source: "test".into(),
        });
        offers
    }

    #[test]
    fn fires_only_where_it_is_demanded_and_missing() {
        let bare = Tree::new().elf("/sbin/init", "").dir("/etc");
        assert!(diagnose_for(&bare, &offers(), "os-release").is_empty());
        let found = diagnose_for(&bare, &offers_with_demand(), "os-release");
        assert_eq!(found[0].edits[0].path, "/etc/os-release");
        let whole = bare.file("/usr/lib/os-release", "ID=x\n");
        assert!(diagnose_for(&whole, &offers_with_demand(), "os-release").is_empty());
    }

    #[test]
    fn a_dangling_link_is_left_alone() {
        let tree = Tree::new()
            .elf("/sbin/init", "")
            .link("/etc/os-release", "/nowhere/os-release");
        let found = diagnose_for(&tree, &offers_with_demand(), "os-release");
        assert_eq!(found[0].edits[0].path, "/usr/lib/os-release");
        assert!(matches!(
            &found[0].edits[0].change,
            Change::Write { text, .. } if text.starts_with("ID=linux\n")
        ));
    }
}
