//! Root has an empty password, and PAM does not accept one.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::login::{Root, pam};
use crate::reading::evidence;
use repot_model::{Finding, PasswordState, Remedy, Severity};
use repot_rootfs::format::shadow::Kind;

#[derive(Debug)]
pub(crate) struct PamNullok;

static META: RuleMeta = RuleMeta {
    id: "pam-nullok",
    severity: Severity::NoLogin,
    summary: "root's password is empty, and pam_unix accepts no empty one",
    explain: "**Symptom**: `Login incorrect`, with or without a question for a password.\n\n**Cause**: root's password field is empty, and the \
line of pam_unix in login's stack has no `nullok` (or `nullok_secure` with a terminal that `/etc/securetty` does not list).\n\n**What repot \
does**: `--root-password -` sets a password. It does not add `nullok`: the file is shared by `su` and others, by which every account would \
become root then.\n\n**By hand**: `chroot TREE passwd root`.",
    sources: &[
        "pam_unix(8), nullok",
        "Linux-PAM modules/pam_unix/support.c, _unix_blankpasswd()",
    ],
};

impl Rule for PamNullok {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.facts.root.password == PasswordState::Unreadable || case.wishes.autologin {
            return Ok(Vec::new());
        }
        let Some(root) =
            Root::read(case.tree)?.filter(|root| root.kind == Kind::Empty && !root.is_expired)
        else {
            return Ok(Vec::new());
        };
        let Some(stack) = pam::stack(case.tree, case.facts)? else {
            return Ok(Vec::new());
        };
        let mut unix = stack
            .modules
            .iter()
            .filter(|module| module.kind == "auth" && module.is("pam_unix.so"))
            .peekable();
        let accepts =
            |module: &&pam::Module| module.args.iter().any(|arg| arg.starts_with("nullok"));
        let Some(first) = unix.peek().copied() else {
            return Ok(Vec::new());
        };
        if unix.any(|module| accepts(&module)) {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            "root's password is empty, and PAM accepts no empty one",
            "Login incorrect",
        );
        finding.cause = "the line of pam_unix has no nullok".into();
        let (path, line) = root.place;
        finding.evidence = vec![
            evidence(&path, line, "an empty password field"),
            first.evidence(),
        ];
        finding.remedy = Remedy::Asked;
        finding.hint = Some("--root-password - sets a password".into());
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, diagnose_with, offers};
    use crate::rules::Wishes;

    #[test]
    fn empty_passwords_need_nullok() {
        let tree = |line: &str, hash: &str| {
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .elf("/bin/login", "util-linux\0libpam.so.0")
                .file("/etc/pam.d/login", line)
                .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
                .file("/etc/shadow", &format!("root:{hash}:19000::::::\n"))
        };
        let strict = tree("auth required pam_unix.so\n", "");
        assert_eq!(diagnose_for(&strict, &offers(), "pam-nullok").len(), 1);
        for fine in [
            tree("auth required pam_unix.so nullok_secure\n", ""),
            tree("auth required pam_unix.so\n", "$6$a$b"),
            tree("auth required pam_x.so\n", ""),
        ] {
            assert!(diagnose_for(&fine, &offers(), "pam-nullok").is_empty());
        }
        let wishes = Wishes {
            root_password_hash: Some("$6$a$b".into()),
            ..Wishes::default()
        };
        assert!(diagnose_with(&strict, &offers(), &wishes, "pam-nullok").is_empty());
    }
}
