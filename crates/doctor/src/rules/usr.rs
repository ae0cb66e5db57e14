//! The engine wants a `/usr` that the tree does not have.

use super::{Case, Rule, RuleMeta, absent};
use crate::{Result, edit};
use repot_model::{Change, Demanded, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct Usr;

static META: RuleMeta = RuleMeta {
    id: "usr",
    severity: Severity::NoBoot,
    summary: "the engine wants a directory /usr, and the tree has none",
    explain: "**Symptom**: `Directory /x doesn't look like it has an OS tree (/usr/ directory is missing). Refusing.`\n\n**Cause**: some \
engines take a directory for a root file system only if it has `/usr`. Guix System keeps everything in `/gnu/store` and has no `/usr` \
until its first boot has made `/usr/bin/env`; NixOS likewise.\n\n**What repot does**: it lays an empty `/usr` over the tree, which \
disturbs nobody.\n\n**By hand**: `mkdir TREE/usr`.",
    sources: &[
        "systemd src/nspawn/nspawn.c, \"/usr/ directory is missing\"",
        "NixOS/nixpkgs#9884, #40367",
    ],
};

impl Rule for Usr {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let mut demands = case.offers.demands.iter();
        let Some(demand) = demands.find(|demand| demand.what == Demanded::Usr) else {
            return Ok(Vec::new());
        };
        if case.tree.is_dir("/usr") {
            return Ok(Vec::new());
        }
        let mut finding = META.finding("the tree has no /usr", &demand.message);
        finding.cause =
            "the engine takes a directory for a root file system only if it has one".into();
        finding.evidence = vec![absent("/usr")];
        finding.remedy = Remedy::Automatic;
        finding.edits.push(edit::made(
            case.tree,
            "/usr",
            Change::Directory { mode: 0o755 },
            "the engine looks for it before it starts anything",
        ));
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Demand, Demanded};

    #[test]
    fn only_where_it_is_demanded() {
        let mut wanting = offers();
        wanting.demands.push(Demand {
            what: Demanded::Usr,
            message: "/usr/ directory is missing".into(),
            source: "test".into(),
        });
        let bare = Tree::new().dir("/gnu/store");
        assert!(diagnose_for(&bare, &offers(), "usr").is_empty());
        mends(&bare, &wanting, &Wishes::default(), "usr");
        assert!(diagnose_for(&Tree::new().dir("/usr"), &wanting, "usr").is_empty());
        // A link that leads nowhere is no directory.
        mends(
            &Tree::new().link("/usr", "gone"),
            &wanting,
            &Wishes::default(),
            "usr",
        );
    }
}
