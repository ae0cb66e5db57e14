//! The init may not tell the kernel that it has finished.
//!
//! Symptom: `System halted`, `RB_AUTOBOOT: Operation not permitted`, or `Give root password for maintenance`, and the machine goes on.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use repot_model::{Finding, Remedy, Severity, StopOffer};

#[derive(Debug)]
pub(crate) struct NoRebootCall;

static META: RuleMeta = RuleMeta {
    id: "no-reboot-call",
    severity: Severity::Degraded,
    summary: "the engine takes away CAP_SYS_BOOT, by which an init ends",
    explain: "An init ends a machine by reboot(2), for which it needs CAP_SYS_BOOT; in a PID namespace the kernel then kills PID 1, \
with a signal that says whether it was a power-off or a reboot (pid_namespaces(7)). Docker, podman and containerd take that capability \
away. sysvinit, openrc-init, runit and the Shepherd then stop everything and stay for ever; systemd, busybox and finit exit, and a \
reboot can no longer be told from a power-off.\n\nWhere repot looks after the machine, it sees that nothing but PID 1 is left and \
ends it. By hand: `--cap-add SYS_BOOT`.",
    sources: &[
        "reboot(2), pid_namespaces(7), capabilities(7)",
        "lxc/lxc#1928",
    ],
};

impl Rule for NoRebootCall {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (Some(init), Some(needs)) = (&case.facts.init, case.needs) else {
            return Ok(Vec::new());
        };
        let has_it = case
            .offers
            .capabilities
            .iter()
            .any(|name| name == "SYS_BOOT");
        if !case.offers.is_pid1 || !needs.uses_reboot_syscall || has_it {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!("{} ends by reboot(2), which needs CAP_SYS_BOOT", init.name),
            "Operation not permitted, and the machine goes on after everything in it has stopped",
        );
        finding.cause = "the engine gives PID 1 no CAP_SYS_BOOT".into();
        finding.evidence = init.evidence.clone();
        if case.offers.stop == StopOffer::Asks {
            finding.remedy = Remedy::Environment;
        } else {
            finding.hint = Some("give the capability SYS_BOOT to the machine".into());
        }
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, offers};
    use repot_model::Remedy;

    #[test]
    fn only_where_the_capability_is_missing() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "");
        let find = |offers: &repot_model::Offers| diagnose_for(&tree, offers, "no-reboot-call");
        assert!(find(&offers()).is_empty());
        let mut less = offers();
        less.capabilities.retain(|name| name != "SYS_BOOT");
        assert_eq!(find(&less)[0].remedy, Remedy::Environment);
        let mut bare = bare_offers();
        bare.capabilities.clear();
        assert!(find(&bare)[0].hint.as_ref().unwrap().contains("SYS_BOOT"));
        let overlay = Tree::new()
            .elf("/bin/sh", "")
            .script("/init", "#!/bin/sh\n")
            .dir("/package/admin/s6-overlay-3.1.6.2");
        assert!(diagnose_for(&overlay, &bare, "no-reboot-call").is_empty());
    }
}
