//! The engine starts programs, but no init: the tree cannot be booted in it.
//!
//! Symptom: `Couldn't find an alternative telinit implementation to spawn.`, `init: must be run as PID 1`, or how the program is
//! used: an init that is not PID 1 takes itself for telinit.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use repot_model::{Finding, Severity};

#[derive(Debug)]
pub(crate) struct InitProcess;

static META: RuleMeta = RuleMeta {
    id: "init-process",
    severity: Severity::NoBoot,
    summary: "the engine does not make an init the first process of a machine",
    explain: "An init has to be process number 1: only then do orphans become its children, only then do signals and reboot(2) mean \
what it takes them for, and inits refuse to work otherwise. chroot changes the root directory and nothing else; other systems put a \
process of their own at that place.\n\nrepot runs single commands there (`repot run --on ENGINE`) and writes the root file system in \
the engine's format (`repot export`). To boot the tree, take an engine with PID namespaces: `repot boot` without `--on` needs nothing \
but the kernel.",
    sources: &[
        "pid_namespaces(7), \"The namespace init process\"",
        "systemd src/core/main.c, redirect_telinit(); busybox init/init.c",
        "openrc-init.c, runit-init(8): both demand to be process 1",
    ],
};

impl Rule for InitProcess {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case.facts.init.as_ref().filter(|_| !case.offers.is_pid1) else {
            return Ok(Vec::new());
        };
        let mut finding = META.finding(
            format!("{} cannot be process 1 there", init.name),
            said(&init.id.0),
        );
        finding.cause =
            "the engine starts programs in the tree, and keeps no PID namespace for it".into();
        finding.evidence = init.evidence.clone();
        finding.hint = Some(
            "`repot boot` without --on boots it natively; `repot run` runs a single command in it"
                .into(),
        );
        Ok(vec![finding])
    }
}

/// What an init says that is not process 1 (Debian's packages, seen in chroot).
fn said(init: &str) -> &'static str {
    match init {
        "systemd" => "Couldn't find an alternative telinit implementation to spawn.",
        "busybox" => "init: must be run as PID 1",
        "sysvinit" => {
            "Usage: init {-e VAR[=VAL] | [-t SECONDS] {0|1|2|3|4|5|6|S|s|Q|q|A|a|B|b|C|c|U|u}}"
        }
        "runit" => "usage: /sbin/init 0|6",
        "finit" => "Usage: init [OPTIONS] [q | Q | 0-9]",
        _ => "(it refuses to work, and says nothing or how it is used)",
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, offers};
    use repot_model::{Remedy, Severity};

    #[test]
    fn an_init_wants_to_be_the_first() {
        let tree = Tree::new().elf("/sbin/init", "SysV init version");
        assert!(diagnose_for(&tree, &offers(), "init-process").is_empty());
        let mut shell = offers();
        shell.is_pid1 = false;
        let found = diagnose_for(&tree, &shell, "init-process");
        assert_eq!(
            (found[0].severity, found[0].remedy),
            (Severity::NoBoot, Remedy::Manual)
        );
        assert!(diagnose_for(&Tree::new(), &shell, "init-process").is_empty());
    }
}
