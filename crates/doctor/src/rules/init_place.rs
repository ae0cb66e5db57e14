//! The engine starts one fixed program, and this tree's init is another.

use super::{Case, Rule, RuleMeta};
use crate::reading::{base_name, evidence};
use crate::{Result, View, edit};
use repot_model::{
    Change, Demanded, Edit, Finding, InitFacts, Needs, ProgramOffer, Remedy, Severity,
};

#[derive(Debug)]
pub(crate) struct InitPlace;

static META: RuleMeta = RuleMeta {
    id: "init-place",
    severity: Severity::NoBoot,
    summary: "the engine starts /sbin/init, and the tree's init is elsewhere",
    explain: "**Symptom**: `Missing executable /sbin/init`, or another program starts than the one that boots this tree.\n\n**Cause**: some \
engines start `/sbin/init` without arguments and nothing else. Guix System and NixOS have their init in the store, s6-overlay has `/init`, \
some trees have an init that is installed but not linked, and some want arguments or variables.\n\n**What repot does**: it lays a link at \
that place, or a small program that starts the init as it wants to be started.\n\n**By hand**: `ln -s ../lib/systemd/systemd TREE/sbin/init`.",
    sources: &[
        "WSL: `boot.systemd` executes /sbin/init without arguments",
        "lxd, incus: \"Missing /sbin/init\"",
        "Guix gnu/system/linux-container.scm, gnu/build/linux-boot.scm",
    ],
};

impl Rule for InitPlace {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (Some(init), Some(needs)) = (&case.facts.init, case.needs) else {
            return Ok(Vec::new());
        };
        let mut demands = case.offers.demands.iter();
        let demand = demands.find(|demand| demand.what == Demanded::SbinInit);
        let (place, starts_it) = match (&case.offers.program, demand) {
            (ProgramOffer::Fixed { path }, _) => (path.as_str(), true),
            // It only has to be there: what is started is named to the engine.
            (ProgramOffer::Any, Some(_)) => ("/sbin/init", false),
            (ProgramOffer::Any, None) => return Ok(Vec::new()),
        };
        let is_same = case.tree.resolve(place).as_deref() == Some(init.resolved.as_str());
        let is_plain = init.args.is_empty() && needs.env.is_empty();
        if is_same && is_plain || !starts_it && case.tree.is_executable(place) {
            return Ok(Vec::new());
        }
        let wanted = starter(case.tree, place, init, needs, is_plain);
        if let Some(edit) = &wanted
            && is_done(case.tree, place, &edit.change)?
        {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!(
                "the engine starts {place}, and this tree boots with {}",
                init.path
            ),
            match demand {
                Some(demand) => demand.message.clone(),
                None => format!("Failed to exec \"{place}\": No such file or directory"),
            },
        );
        finding.cause = match is_plain {
            true => format!("{place} is not {}", init.path),
            false => format!(
                "{} has to be started with arguments or variables, which the engine cannot give",
                init.path
            ),
        };
        let seen = match case.tree.symlink_kind(place) {
            Some(kind) => format!("a {kind}"),
            None => "does not exist".to_owned(),
        };
        finding.evidence = vec![evidence(place, None, &seen)];
        finding.evidence.extend(init.evidence.iter().cloned());
        match wanted {
            Some(edit) => {
                finding.remedy = Remedy::Automatic;
                finding.edits.push(edit);
            }
            None => {
                finding.hint = Some(format!(
                    "write a program {place} that starts {}",
                    needs.argv.join(" ")
                ))
            }
        }
        Ok(vec![finding])
    }
}

/// What is put at the place.
fn starter(
    view: &View<'_>,
    place: &str,
    init: &InitFacts,
    needs: &Needs,
    is_plain: bool,
) -> Option<Edit> {
    let why = "the engine starts what is there, without arguments";
    if is_plain {
        let to = edit::relative_link(place, &init.path);
        return Some(edit::link(view, place, &to, why));
    }
    if view.is_executable("/bin/sh") {
        let mut text = "#!/bin/sh\n".to_owned();
        for (name, value) in &needs.env {
            text.push_str(&format!(
                "export {name}={}\n",
                repot_model::shell_word(value)
            ));
        }
        let argv: Vec<String> = needs
            .argv
            .iter()
            .map(|word| repot_model::shell_word(word))
            .collect();
        text.push_str(&format!("exec {} \"$@\"\n", argv.join(" ")));
        return Some(edit::script(view, place, text, why));
    }
    // Guix System before its first boot: its Guile is the only interpreter that there is.
    let boot = needs
        .argv
        .last()
        .filter(|_| base_name(&init.path) == "guile")?;
    let mut text = format!("#!{} --no-auto-compile\n!#\n", init.path);
    for (name, value) in &needs.env {
        text.push_str(&format!("(setenv {name:?} {value:?})\n"));
    }
    text.push_str(&format!("(primitive-load {boot:?})\n"));
    // The kernel reads 255 characters of the first line.
    (init.path.len() < 200).then(|| edit::script(view, place, text, why))
}

/// Whether the place holds that already.
fn is_done(view: &View<'_>, place: &str, change: &Change) -> Result<bool> {
    Ok(match change {
        Change::Write { text, .. } => {
            view.text(place)?.as_ref() == Some(text) && view.is_executable(place)
        }
        Change::Link { to } => view.read_link(place).as_ref() == Some(to),
        Change::Directory { .. } | Change::Remove | Change::Mode { .. } | Change::Owner { .. } => {
            false
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Demand, Demanded, Offers, ProgramOffer};

    fn fixed() -> Offers {
        let mut offers = offers();
        offers.program = ProgramOffer::Fixed {
            path: "/sbin/init".into(),
        };
        offers
    }

    fn guix(tree: Tree) -> Tree {
        let system = "/gnu/store/abc-system";
        tree.link("/var/guix/profiles/system", "system-1-link")
            .link("/var/guix/profiles/system-1-link", system)
            .file(&format!("{system}/boot"), "(display \"x\")\n")
            .elf(&format!("{system}/profile/bin/guile"), "")
    }

    #[test]
    fn a_link_where_the_engine_looks() {
        let tree = Tree::new().elf("/usr/lib/systemd/systemd", "systemd 252 running in");
        assert!(diagnose_for(&tree, &offers(), "init-place").is_empty());
        let found = diagnose_for(&tree, &fixed(), "init-place");
        assert_eq!(
            found[0].edits[0].change,
            Change::Link {
                to: "../usr/lib/systemd/systemd".into()
            }
        );
        mends(&tree, &fixed(), &Wishes::default(), "init-place");
        let whole = Tree::new().elf("/sbin/init", "SysV init version");
        assert!(diagnose_for(&whole, &fixed(), "init-place").is_empty());
    }

    #[test]
    fn a_program_that_gives_what_the_engine_cannot() {
        for (tree, start) in [
            (
                guix(Tree::new()),
                "#!/gnu/store/abc-system/profile/bin/guile --no-auto-compile\n!#\n(setenv \"GUIX_NEW_SYSTEM\"",
            ),
            (
                guix(Tree::new().elf("/bin/sh", "")),
                "#!/bin/sh\nexport GUIX_NEW_SYSTEM=/gnu/store/abc-system\nexec ",
            ),
        ] {
            let found = diagnose_for(&tree, &fixed(), "init-place");
            let Change::Write { text, mode } = &found[0].edits[0].change else {
                panic!("{found:?}")
            };
            assert!(text.starts_with(start), "{text}");
            assert_eq!(*mode, Some(0o755));
            mends(&tree, &fixed(), &Wishes::default(), "init-place");
            let after = tree.copy();
            after.apply(&found[0].edits);
            assert_eq!(after.init().name, tree.init().name);
        }
    }

    #[test]
    fn a_demand_is_met_by_anything_executable() {
        let mut wanting = offers();
        wanting.demands.push(Demand {
            what: Demanded::SbinInit,
            message: "Missing executable /sbin/init".into(),
            source: "test".into(),
        });
        let tree = guix(Tree::new());
        let found = diagnose_for(&tree, &wanting, "init-place");
        assert_eq!(found[0].symptom, "Missing executable /sbin/init");
        mends(&tree, &wanting, &Wishes::default(), "init-place");
    }
}
