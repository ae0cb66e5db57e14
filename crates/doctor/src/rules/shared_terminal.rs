//! Two gettys read the same terminal.
//!
//! Symptom: half of the keys are lost, names and passwords never arrive whole, prompts come twice.

use super::console_silent::is_console;
use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit::Edits;
use crate::init::{self, Setup, Unwanted};
use repot_model::{Finding, Getty, GettyKind, Remedy, Severity};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct SharedTerminal;

static META: RuleMeta = RuleMeta {
    id: "shared-terminal",
    severity: Severity::NoLogin,
    summary: "two gettys read one terminal",
    explain: "Each key that is typed goes to whoever reads first. Two gettys on one terminal share the keys between them, so that no \
name arrives whole, and each hangs up the other's terminal when it starts. It happens where a container recipe added a line for \
`console` to one that was there, or where the engine's console has a second name: systemd-nspawn's is also `pts/0`.\n\nrepot keeps \
one that asks for a name and switches off the others.",
    sources: &["agetty(8), vhangup(2)", "lxc/lxc#520"],
};

impl Rule for SharedTerminal {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case.facts.init.as_ref().filter(|_| case.offers.is_pid1) else {
            return Ok(Vec::new());
        };
        let mut by_terminal: BTreeMap<&str, Vec<&Getty>> = BTreeMap::new();
        for getty in &init.gettys {
            // All names of the console are one terminal, unless the engine makes one for each getty.
            let offers = case.offers;
            let terminal = match !offers.tty1_is_console && is_console(offers, &getty.tty) {
                true => "console",
                false => getty.tty.as_str(),
            };
            by_terminal.entry(terminal).or_default().push(getty);
        }
        let mut findings = Vec::new();
        for (terminal, gettys) in by_terminal {
            // The first that asks for a name stays.
            let kept = gettys
                .iter()
                .position(|getty| getty.kind == GettyKind::Login)
                .unwrap_or(0);
            let mut edits = Edits::new(case.tree);
            for (at, getty) in gettys.iter().enumerate() {
                if at == kept {
                    continue;
                }
                let view = edits.view.clone();
                let setup = Setup {
                    tree: &view,
                    facts: case.facts,
                    init,
                };
                edits.add(init::system(init).switch_off(&setup, &Unwanted::Getty(getty))?);
            }
            if gettys.len() < 2 {
                continue;
            }
            let mut finding = META.finding(
                format!("{} logins read the terminal {terminal}", gettys.len()),
                "(keys get lost while a name is typed)",
            );
            finding.cause = "each key goes to whoever reads first".into();
            finding.evidence = gettys.iter().map(|getty| getty.evidence.clone()).collect();
            finding.edits = edits.done();
            if finding.edits.is_empty() {
                finding.hint = Some("switch off all of them but one".into());
            } else {
                finding.remedy = Remedy::Automatic;
            }
            findings.push(finding);
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};

    const RULE: &str = "shared-terminal";

    #[test]
    fn one_line_of_inittab_stays() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/getty", "")
            .file(
                "/etc/inittab",
                "co:2:respawn:/sbin/getty 38400 console\nc1:2:respawn:/sbin/getty -L console\n",
            );
        let found = mended(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].evidence.len(), 2);
        assert_eq!(
            tree.read("/etc/inittab"),
            "co:2:respawn:/sbin/getty 38400 console\n#c1:2:respawn:/sbin/getty -L console\n"
        );
    }

    #[test]
    fn one_pty_for_each_is_fine() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/getty", "")
            .file(
                "/etc/inittab",
                "co:2:respawn:/sbin/getty console\n1:2:respawn:/sbin/getty tty1\n",
            );
        assert!(diagnose_for(&tree, &offers(), RULE).is_empty());
        assert!(diagnose_for(&tree, &bare_offers(), RULE).is_empty());
    }

    #[test]
    fn the_console_by_its_other_name() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/getty", "")
            .file(
                "/etc/inittab",
                "co:2:respawn:/sbin/getty console\np0:2:respawn:/sbin/getty pts/0\n",
            );
        assert!(diagnose_for(&tree, &offers(), RULE).is_empty());
        mended(&tree, &bare_offers(), RULE);
        assert!(tree.read("/etc/inittab").contains("\n#p0:"));
    }
}
