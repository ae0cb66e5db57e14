//! pam_keyinit is to make a session keyring, and the engine does not let it.

use super::pam_loginuid::relax;
use super::{Case, Rule, RuleMeta};
use crate::Result;
use repot_model::{Finding, Keyrings, Severity};

#[derive(Debug)]
pub(crate) struct PamSession;

static META: RuleMeta = RuleMeta {
    id: "pam-session",
    severity: Severity::NoLogin,
    summary: "login's PAM stack wants a session keyring, which the engine does not give",
    explain: "**Symptom**: after the right password the login ends at once with `Cannot make/remove an entry for the specified session`; \
the log has `pam_keyinit(login:session): Failed to allocate session keyring` or nothing.\n\n**Cause**: keyrings are the kernel's, and \
not divided between containers, so engines forbid keyctl(2): Docker and containerd answer EPERM, repot's own runtime and systemd-nspawn \
ENOSYS, as a kernel without keyrings does. pam_keyinit excuses the second only, and only without its option `force`. Most distributions \
have its line `optional`, where nothing comes of it; one that is `required` ends the login.\n\n**What repot does**: it makes such a \
line `optional`.\n\n**By hand**: the same. Other modules that people suspect do no harm: pam_selinux does nothing where SELinux is off, \
as in all containers whose engine does not mount selinuxfs, and pam_namespace mounts nothing unless `/etc/security/namespace.conf` asks \
for it.",
    sources: &[
        "pam_keyinit(8); Linux-PAM modules/pam_keyinit/pam_keyinit.c, init_keyrings()",
        "keyrings(7); moby profiles/seccomp/default.json; systemd src/nspawn/nspawn-seccomp.c",
    ],
};

impl Rule for PamSession {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (answer, excuses) = match case.offers.keyrings {
            Keyrings::Given => return Ok(Vec::new()),
            Keyrings::Unknown => ("ENOSYS, which it does not excuse with `force`", true),
            Keyrings::Refused => ("EPERM", false),
        };
        let mut finding = META.finding(
            "pam_keyinit can make no session keyring there, and login depends on it",
            "Cannot make/remove an entry for the specified session",
        );
        finding.cause = format!("keyctl(2) is answered with {answer}");
        relax(case, &mut finding, |module| {
            let forces = module.args.iter().any(|arg| arg == "force");
            module.is("pam_keyinit.so") && (forces || !excuses)
        })?;
        Ok(Vec::from_iter(
            (!finding.evidence.is_empty()).then_some(finding),
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::Keyrings;

    #[test]
    fn keyrings_that_cannot_be_made() {
        let lines = "session optional pam_keyinit.so force\nsession required pam_keyinit.so force\nsession required pam_keyinit.so\n";
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", lines);
        for (keyrings, found_in) in [
            (Keyrings::Given, &[][..]),
            (Keyrings::Unknown, &[2]),
            (Keyrings::Refused, &[2, 3]),
        ] {
            let mut strict = offers();
            strict.keyrings = keyrings;
            let found = diagnose_for(&tree, &strict, "pam-session");
            let lines: Vec<u32> = found
                .iter()
                .flat_map(|finding| &finding.evidence)
                .filter_map(|seen| seen.line)
                .collect();
            assert_eq!(lines, found_in, "{keyrings:?}");
            if !found_in.is_empty() {
                mends(&tree, &strict, &Wishes::default(), "pam-session");
            }
        }
    }
}
