//! Services of an emulated systemd that are given credentials do not start.
//!
//! Symptom: `systemd-tmpfiles-setup.service: Failed to set up credentials: Invalid argument`, and `status=243/CREDENTIALS`.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::emulation::{Execution, execution};
use crate::reading::evidence;
use repot_model::{Certainty, Evidence, Finding, Remedy, Severity};
use repot_rootfs::format::unit;

#[derive(Debug)]
pub(crate) struct EmulatedServices;

static META: RuleMeta = RuleMeta {
    id: "emulated-services",
    severity: Severity::Degraded,
    summary: "under emulation, systemd's services that take credentials do not start",
    explain: "**Symptom**: `Failed to set up credentials: Invalid argument`; systemd-sysusers, systemd-tmpfiles-setup, systemd-sysctl \
and others fail, so that what they make in `/run`, `/tmp` and `/var` is missing.\n\n**Cause**: systemd sets credentials up in a \
process with a mount namespace of its own, made by clone(2), which qemu-user refuses.\n\n**What repot does**, where an emulator runs \
the tree: a drop-in for all services that asks for no credentials. Containers have none, unless somebody passes some. A unit whose own \
drop-in asks for one still fails. By hand: `[Service]` and `LoadCredential=` in `TREE/etc/systemd/system/service.d/10-no-credentials.conf`.",
    sources: &[
        "systemd.exec(5), LoadCredential=; systemd.unit(5) on `service.d` (since systemd 244)",
        "systemd 252 src/core/execute.c, setup_credentials(): FORK_NEW_MOUNTNS",
        "QEMU 7.2 linux-user/syscall.c, do_fork(): CLONE_INVALID_FORK_FLAGS",
    ],
};

const UNITS: &str = "/usr/lib/systemd/system";
const DROP_IN: &str = "/etc/systemd/system/service.d/10-repot-emulated.conf";

/// What asks for credentials; an empty value takes it back.
const KEYS: &[&str] = &["LoadCredential", "ImportCredential"];

impl Rule for EmulatedServices {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let init = case.facts.init.as_ref();
        if init.is_none_or(|init| init.id.0 != "systemd") || case.tree.exists(DROP_IN) {
            return Ok(Vec::new());
        }
        let emulated = execution(case.tree.root(), case.facts, &case.offers.emulators);
        let Execution::Emulated(emulator) = emulated else {
            return Ok(Vec::new());
        };
        let seen = credentials(case)?;
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let mut text = "# Written by repot (rule emulated-services).\n[Service]\n".to_owned();
        for key in KEYS {
            // A version that does not know a word warns of it.
            if seen.iter().any(|(known, _)| known == key) {
                text.push_str(&format!("{key}=\n"));
            }
        }
        let mut finding = META.finding(
            "services that take credentials do not start under emulation",
            "systemd-tmpfiles-setup.service: Failed to set up credentials: Invalid argument",
        );
        finding.certainty = Certainty::Likely;
        finding.cause = format!("{emulator} refuses clone(2) with CLONE_NEWNS");
        finding.evidence = seen.into_iter().map(|(_, evidence)| evidence).collect();
        finding.remedy = Remedy::Automatic;
        finding.edits = vec![edit::write(
            case.tree,
            DROP_IN,
            text,
            "no service asks for credentials (systemd.exec(5), LoadCredential=)",
        )];
        Ok(vec![finding])
    }
}

/// The first unit that asks for them by each of the keys.
fn credentials(case: &Case<'_>) -> Result<Vec<(&'static str, Evidence)>> {
    let mut seen: Vec<(&'static str, Evidence)> = Vec::new();
    for dir in [UNITS, "/lib/systemd/system"] {
        for name in case.tree.names(dir)? {
            let path = format!("{dir}/{name}");
            if !name.ends_with(".service") || seen.len() == KEYS.len() {
                continue;
            }
            let Some(text) = case.tree.text(&path)? else {
                continue;
            };
            let settings = unit::parse(&text);
            for key in KEYS {
                let known = seen.iter().any(|(known, _)| known == key);
                if let Some(found) = unit::get(&settings, "Service", key).filter(|_| !known) {
                    let said = format!("{key}={}", found.value);
                    seen.push((key, evidence(&path, Some(found.line), &said)));
                }
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, offers};
    use crate::rules::Wishes;
    use repot_model::{Arch, Change, Emulators, Handler, Offers};

    #[test]
    fn credentials_are_taken_back_under_emulation_only() {
        let unit = "/usr/lib/systemd/system/systemd-sysctl.service";
        let tree = |text: &str| {
            Tree::new()
                .elf(
                    "/usr/lib/systemd/systemd",
                    "systemd 252 running in %ssystem mode",
                )
                .link("/sbin/init", "/usr/lib/systemd/systemd")
                .file(unit, text)
        };
        let handler = Handler {
            name: "qemu-s390x".into(),
            is_enabled: true,
            interpreter: "/usr/bin/qemu-s390x-static".into(),
            flags: "F".into(),
            offset: 0,
            magic: b"\x7fELF".to_vec(),
            mask: vec![0xff; 4],
            loader: None,
        };
        let emulating = Offers {
            emulators: Emulators::Registered(vec![handler]),
            ..offers()
        };
        let found = |tree: &Tree, arch, offers: &Offers| {
            let mut facts = tree.facts();
            facts.arch = Some(arch);
            let wishes = Wishes::default();
            let found = crate::diagnose(&tree.root(), &facts, offers, &wishes, &|_| true);
            let mut found = found.findings.into_iter();
            found.find(|finding| finding.rule.0 == "emulated-services")
        };
        let asks = tree("[Service]\nLoadCredential=sysctl.extra\n");
        let finding = found(&asks, Arch::S390x, &emulating).unwrap();
        assert_eq!(finding.evidence[0].line, Some(2));
        let Change::Write { text, .. } = &finding.edits[0].change else {
            panic!("{:?}", finding.edits)
        };
        assert!(text.ends_with("[Service]\nLoadCredential=\n"), "{text}");
        asks.apply(&finding.edits);
        assert!(found(&asks, Arch::S390x, &emulating).is_none());
        let asks = tree("[Service]\nLoadCredential=sysctl.extra\n");
        assert!(found(&asks, Arch::host(), &emulating).is_none());
        assert!(found(&asks, Arch::S390x, &offers()).is_none());
        assert!(found(&tree("[Service]\n"), Arch::S390x, &emulating).is_none());
    }
}
