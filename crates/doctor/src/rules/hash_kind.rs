//! Root's password is kept as a hash that the tree's own crypt(3) does not know.

use super::root_password::refusal;
use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::login::{Root, Support, supports};
use crate::reading::evidence;
use repot_model::{Certainty, Finding, PasswordState, Remedy, Severity};
use repot_rootfs::format::shadow::Kind;

#[derive(Debug)]
pub(crate) struct HashKind;

static META: RuleMeta = RuleMeta {
    id: "hash-kind",
    severity: Severity::NoLogin,
    summary: "root's password hash is of a kind that the tree cannot check",
    explain: "**Symptom**: `Login incorrect` after the right password.\n\n**Cause**: the hash in `/etc/shadow` was made elsewhere, \
by a newer system: yescrypt (`$y$`) needs libxcrypt 4.3, and neither glibc's own libcrypt nor musl nor busybox has it; bcrypt \
(`$2b$`) is unknown to glibc. Copying a shadow line from one's desktop into an older tree is how that happens.\n\n**What repot \
does**: `--root-password -` makes a hash that this tree can check.\n\n**By hand**: `openssl passwd -6`, and the result into the \
second field of root's line.",
    sources: &[
        "crypt(5)",
        "glibc crypt/crypt-entry.c; musl src/crypt/crypt_r.c; libxcrypt lib/hashes.conf",
    ],
};

impl Rule for HashKind {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.facts.root.password == PasswordState::Unreadable || case.facts.login.login.is_none()
        {
            return Ok(Vec::new());
        }
        let Some(root) = Root::read(case.tree)? else {
            return Ok(Vec::new());
        };
        let Kind::Hashed(kind) = root.kind else {
            return Ok(Vec::new());
        };
        let Support::No(library) = supports(case.tree, case.facts, kind)? else {
            return Ok(Vec::new());
        };
        let summary = format!("root's password is a {kind} hash, which this tree cannot check");
        let mut finding = META.finding(summary, refusal(case.facts.login.stack));
        finding.certainty = Certainty::Likely;
        finding.cause = format!("its crypt(3) does not know {kind}, so no password matches");
        let (path, line) = root.place;
        finding.evidence = vec![evidence(&path, line, &format!("a {kind} hash")), library];
        finding.remedy = Remedy::Asked;
        finding.hint = Some("--root-password - sets a password that this tree can check".into());
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, diagnose_with, offers};
    use crate::rules::Wishes;

    #[test]
    fn a_new_hash_in_an_old_tree() {
        let tree = |libcrypt: &str| {
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .elf("/bin/login", "util-linux\0libpam.so.0")
                .file("/lib/x86_64-linux-gnu/libcrypt.so.1", libcrypt)
                .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
                .file("/etc/shadow", "root:$y$j9T$a$b:19000:0:99999:7:::\n")
        };
        let old = tree("$6$ $5$");
        let found = diagnose_for(&old, &offers(), "hash-kind");
        assert!(found[0].summary.contains("yescrypt") && found[0].evidence.len() == 2);
        assert!(diagnose_for(&tree("$y$"), &offers(), "hash-kind").is_empty());
        let wishes = Wishes {
            root_password_hash: Some("$6$a$b".into()),
            ..Wishes::default()
        };
        assert!(diagnose_with(&old, &offers(), &wishes, "hash-kind").is_empty());
    }
}
