//! Gettys on terminals that the engine does not make.
//!
//! Symptom: `INIT: Id "1" respawning too fast: disabled for 5 minutes`, or `can't open /dev/tty1: No such file or directory` each
//! second, for as long as the machine runs.

use super::console_silent::is_console;
use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit::Edits;
use crate::init::{self, Setup, Unwanted};
use repot_model::{Certainty, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct MissingTerminals;

static META: RuleMeta = RuleMeta {
    id: "missing-terminals",
    severity: Severity::Degraded,
    summary: "gettys on terminals that do not exist are started over and over",
    explain: "A PC has virtual terminals, a container has not, unless its engine makes some. An init that is told to keep a getty \
running on `tty1` to `tty6` starts it, sees it fail and starts it again: once a second (busybox), or ten times and then every five \
minutes (sysvinit), with a line on the console and in the log each time. A service of Debian's runit goes further and takes itself out \
of the tree for good: after one boot without `tty1`, no boot has a login any more.\n\nrepot switches off those gettys, and only \
those: lines of inittab become comments, services get a `down` file. Inits that pass over missing terminals by themselves (systemd, \
finit, dinit) are left alone. By hand, with sysvinit or busybox: put a `#` before the lines of `/etc/inittab` with `tty1` to `tty6`.",
    sources: &[
        "inittab(5); sysvinit src/init.c, MAXSPAWN and SLEEPTIME",
        "Debian getty-run: /etc/sv/getty-tty1/run (bug 914788)",
        "lxc/lxc#1751, canonical/lxd#444",
    ],
};

impl Rule for MissingTerminals {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let offers = case.offers;
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        if !offers.is_pid1 || offers.makes_missing_terminals {
            return Ok(Vec::new());
        }
        let mut edits = Edits::new(case.tree);
        let mut finding = META.finding("", "");
        let mut names = Vec::new();
        for getty in &init.gettys {
            if is_console(offers, &getty.tty) || offers.terminals.contains(&getty.tty) {
                continue;
            }
            let view = edits.view.clone();
            let setup = Setup {
                tree: &view,
                facts: case.facts,
                init,
            };
            let off = init::system(init).switch_off(&setup, &Unwanted::Terminal(getty))?;
            if off.is_empty() {
                continue;
            }
            edits.add(off);
            names.push(getty.tty.clone());
            finding.evidence.push(getty.evidence.clone());
        }
        let Some(first) = names.first() else {
            return Ok(Vec::new());
        };
        finding.summary = format!(
            "logins are to be kept running on {}, which {} not exist there",
            names.join(", "),
            if names.len() == 1 { "does" } else { "do" }
        );
        finding.symptom = format!("/dev/{first}: No such file or directory, over and over");
        finding.cause = "the engine makes no virtual terminals and no serial lines".into();
        finding.remedy = Remedy::Automatic;
        finding.severity = Severity::Cosmetic;
        // Alpine's busybox 1.36 starts them each second, Debian's 1.35 does not start them again.
        finding.certainty = Certainty::Likely;
        // A service that gives up by renaming itself is worse than noise.
        for seen in &finding.evidence {
            let script = case.tree.text(&seen.path)?.unwrap_or_default();
            if script
                .lines()
                .any(|line| line.trim_start().starts_with("mv /etc/"))
            {
                finding.severity = Severity::Degraded;
                finding.symptom = format!("no login any more, not even where {first} exists");
                finding
                    .cause
                    .push_str(", and the service then takes itself out of the tree for good");
                break;
            }
        }
        finding.edits = edits.done();
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};
    use repot_model::Severity;

    const RULE: &str = "missing-terminals";

    fn sysvinit() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/getty", "")
            .file(
                "/etc/inittab",
                "id:2:initdefault:\nco:2:respawn:/sbin/getty 38400 console\n1:2345:respawn:/sbin/getty 38400 tty1\n\
                 2:23:respawn:/sbin/getty 38400 tty2\n9:5:respawn:/sbin/getty 38400 tty9\n",
            )
    }

    #[test]
    fn lines_become_comments() {
        assert!(diagnose_for(&sysvinit(), &offers(), RULE).is_empty());
        let mut some = bare_offers();
        some.terminals = vec!["tty1".into()];
        assert_eq!(diagnose_for(&sysvinit(), &some, RULE)[0].evidence.len(), 1);
        let tree = sysvinit();
        let found = mended(&tree, &bare_offers(), RULE);
        assert_eq!(
            (found[0].severity, found[0].edits.len()),
            (Severity::Cosmetic, 1)
        );
        assert_eq!(
            tree.read("/etc/inittab"),
            "id:2:initdefault:\nco:2:respawn:/sbin/getty 38400 console\n#1:2345:respawn:/sbin/getty 38400 tty1\n\
             #2:23:respawn:/sbin/getty 38400 tty2\n9:5:respawn:/sbin/getty 38400 tty9\n"
        );
    }

    #[test]
    fn busybox_without_an_inittab_gets_one() {
        let tree = Tree::new().elf("/sbin/init", "BusyBox v1.36.1\0/etc/inittab");
        mended(&tree, &bare_offers(), RULE);
        assert!(
            tree.read("/etc/inittab")
                .contains("\n::askfirst:-/bin/sh\n")
        );
        assert!(!tree.read("/etc/inittab").contains("tty"));
    }

    #[test]
    fn a_service_that_renames_itself_is_worse() {
        let tree = Tree::new()
            .elf("/lib/runit/runit-init", "/run/runit.stopit\0/sbin/runit")
            .link("/sbin/init", "/lib/runit/runit-init")
            .elf("/sbin/agetty", "")
            .script(
                "/etc/sv/getty-tty1/run",
                "#!/bin/sh\nif ! test -c /dev/tty1 ; then\n\tmv /etc/service/getty-tty1 /etc/service/.getty-tty1\nfi\nexec agetty tty1\n",
            )
            .link("/etc/runit/runsvdir/default/getty-tty1", "/etc/sv/getty-tty1");
        let found = mended(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].severity, Severity::Degraded);
        assert_eq!(found[0].edits[0].path, "/etc/sv/getty-tty1/down");
    }

    #[test]
    fn inits_that_cope_are_left_alone() {
        let tree = Tree::new()
            .elf("/sbin/init", "Finit v4.2\0")
            .file("/etc/finit.conf", "tty [2] /dev/tty1\n");
        assert!(diagnose_for(&tree, &bare_offers(), RULE).is_empty());
    }
}
