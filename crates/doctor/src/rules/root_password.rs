//! No password of root's can be right, or another one was asked for.
//!
//! Symptom: a password is asked for, then `Login incorrect`, whatever is typed. Nearly every root file system is shipped so.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::login::{Root, Support, are_accounts_made, password_in_advance, supports};
use crate::reading::evidence;
use repot_model::{Finding, GettyKind, LoginStack, PasswordState, Remedy, Severity};
use repot_rootfs::format::shadow::{Hash, Kind};

#[derive(Debug)]
pub(crate) struct RootPassword;

static META: RuleMeta = RuleMeta {
    id: "root-password",
    severity: Severity::NoLogin,
    summary: "root is locked, or a password for root was asked for",
    explain: "**Symptom**: the console asks for a name and a password, and then says `Login incorrect` (busybox: `login: bad salt`), whatever is typed.\n\n\
**Cause**: the password field of root in `/etc/shadow` (or `/etc/passwd`) is `*`, `!` or the like, the account has expired, or \
`/etc/passwd` sends one to a shadow file that has no line for root. Root file systems are shipped like that on purpose, so that \
nobody gets in by a password that the whole world knows.\n\n**What repot does**: only what you ask for. `--root-password -` reads \
a password from standard input, `--root-password-hash` takes what `mkpasswd` or `openssl passwd -6` printed; `boot` lays the \
changed line over the tree, `fix` writes it. `repot login NAME` needs no password at all, since it is not the console that it \
asks. Guix System and NixOS make their accounts at the boot: there the line of `/etc/shadow` is laid in beforehand, which they keep. `--autologin` lets whoever sits at the console in.\n\n**By hand**: `chroot TREE passwd root`.",
    sources: &[
        "shadow(5), passwd(5), crypt(5)",
        "pam_unix(8), check_shadow_expiry()",
        "shadow src/login.c; busybox loginutils/login.c",
    ],
};

impl Rule for RootPassword {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.facts.root.password == PasswordState::Unreadable {
            return Ok(Vec::new());
        }
        let Some(root) = Root::read(case.tree)? else {
            return match &case.wishes.root_password_hash {
                Some(hash) if case.facts.init.is_some() && are_accounts_made(case.tree) => {
                    asked_in_advance(case, hash)
                }
                Some(_) | None => Ok(Vec::new()),
            };
        };
        if let Some(hash) = &case.wishes.root_password_hash {
            return asked(case, &root, hash);
        }
        if case.facts.init.is_none() || lets_in_without(case) {
            return Ok(Vec::new());
        }
        let (path, line) = root.place.clone();
        let mut finding = META.finding("", refusal(case.facts.login.stack));
        match (root.kind, root.is_expired) {
            (Kind::Locked, _) => {
                finding.summary = "no password of root's can be right".into();
                finding.cause = match line {
                    Some(_) => "the field holds something that is the hash of no password".into(),
                    None => format!("{path} has no line for {}", root.user.name),
                };
                let seen = match line {
                    Some(_) => "a field that no password matches",
                    None => "no line for root",
                };
                finding.evidence = vec![evidence(&path, line, seen)];
            }
            (Kind::Empty | Kind::Hashed(_), true) => {
                finding.summary = "root's account has expired".into();
                finding.symptom =
                    "Your account has expired; please contact your system administrator.".into();
                finding.cause = "the days in its line are over".into();
                finding.evidence = vec![evidence(&path, line, "an expired account")];
            }
            (Kind::Empty | Kind::Hashed(_), false) => return Ok(Vec::new()),
        }
        finding.remedy = Remedy::Asked;
        finding.hint = Some(
            "--root-password - sets a password; `repot login NAME` needs none; --autologin lets in whoever sits at the console"
                .into(),
        );
        Ok(vec![finding])
    }
}

/// What a login program says of a field that crypt(3) cannot do anything with.
///
/// # Source
/// busybox `libbb/pw_encrypt.c` (measured with 1.35); all others treat it as a wrong password.
pub(crate) fn refusal(stack: LoginStack) -> &'static str {
    match stack {
        LoginStack::Busybox => "login: bad salt",
        LoginStack::UtilLinux
        | LoginStack::Shadow
        | LoginStack::Toybox
        | LoginStack::Unknown
        | LoginStack::None => "Login incorrect",
    }
}

/// The wish for a password.
fn asked(case: &Case<'_>, root: &Root, hash: &str) -> Result<Vec<Finding>> {
    if root.has(hash) {
        return Ok(Vec::new());
    }
    let (path, line) = root.place.clone();
    let mut finding = META.finding(
        "a password for root was asked for",
        refusal(case.facts.login.stack),
    );
    finding.evidence = vec![evidence(&path, line, "another password, or none")];
    finding.cause = "the tree has another one, or none that could be right".into();
    if let Some(why) = unusable(case, hash)? {
        return Ok(vec![refused(finding, &why)]);
    }
    finding.remedy = Remedy::Asked;
    match root.set_password(case.tree, hash)? {
        Some(edit) => finding.edits.push(edit),
        None => {
            finding.remedy = Remedy::Manual;
            finding.hint = Some(format!(
                "{path} cannot be rewritten: it is no text in UTF-8"
            ));
        }
    }
    Ok(vec![finding])
}

/// The same where root's account is made only at the first boot.
fn asked_in_advance(case: &Case<'_>, hash: &str) -> Result<Vec<Finding>> {
    let Some(edit) = password_in_advance(case.tree, hash)? else {
        return Ok(Vec::new());
    };
    let mut finding = META.finding(
        "a password for root was asked for",
        refusal(case.facts.login.stack),
    );
    finding.evidence = vec![evidence("/etc/passwd", None, "does not exist")];
    finding.cause =
        "the accounts are made at the boot, which keeps the line of /etc/shadow that it finds"
            .into();
    if let Some(why) = unusable(case, hash)? {
        return Ok(vec![refused(finding, &why)]);
    }
    finding.remedy = Remedy::Asked;
    finding.edits.push(edit);
    Ok(vec![finding])
}

/// Why a hash is none that the tree could check.
fn unusable(case: &Case<'_>, hash: &str) -> Result<Option<String>> {
    Ok(match Hash(hash.to_owned()).kind() {
        Kind::Empty => None,
        // In a line of shadow(5) it would end the field or the line.
        Kind::Hashed(_) if hash.contains([':', '\n', '\r']) => Some("is no hash".to_owned()),
        Kind::Locked => Some("is no hash of a password".to_owned()),
        Kind::Hashed(kind) => match supports(case.tree, case.facts, kind)? {
            Support::Yes => None,
            Support::No(seen) => Some(format!(
                "is of the kind {kind}, which the tree cannot check: {} is {}",
                seen.path, seen.seen
            )),
        },
    })
}

/// Of a hash of which nothing can be made.
fn refused(mut finding: Finding, why: &str) -> Finding {
    finding.summary = format!("the hash that was given for root {why}");
    finding.hint = Some("openssl passwd -6 makes one that nearly every libc can check".into());
    finding
}

/// Whether the console lets one in without a password.
fn lets_in_without(case: &Case<'_>) -> bool {
    let gettys = case.facts.init.iter().flat_map(|init| &init.gettys);
    case.wishes.autologin
        || gettys
            .filter(|getty| matches!(getty.tty.as_str(), "console" | "tty1" | "-"))
            .any(|getty| matches!(getty.kind, GettyKind::Autologin | GettyKind::Shell))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, diagnose_with, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
    const HASH: &str = "$6$salt$hash";

    fn tree(shadow: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/passwd", PASSWD)
            .file("/etc/shadow", shadow)
    }

    fn wish(hash: &str) -> Wishes {
        Wishes {
            root_password_hash: Some(hash.into()),
            ..Wishes::default()
        }
    }

    #[test]
    fn accounts_that_the_boot_makes() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .dir("/gnu/store");
        assert!(diagnose_for(&tree, &offers(), "root-password").is_empty());
        mends(&tree, &offers(), &wish(HASH), "root-password");
        let found = diagnose_with(&tree, &offers(), &wish(HASH), "root-password");
        let edit = &found[0].edits[0];
        assert!(
            matches!(&edit.change, Change::Write { text, mode: Some(0o600) }
                if text.starts_with("root:$6$salt$hash:"))
        );
        let found = diagnose_with(&tree, &offers(), &wish("*"), "root-password");
        assert!(found[0].edits.is_empty());
    }

    #[test]
    fn locked_expired_and_without_a_line() {
        for (shadow, part) in [
            ("root:*:19000:0:99999:7:::\n", "can be right"),
            ("root:!$6$a$b:19000:0:99999:7:::\n", "can be right"),
            ("bin:*:19000:0:99999:7:::\n", "can be right"),
            ("root:$6$a$b:19000:0:99999:7::100:\n", "expired"),
        ] {
            let tree = tree(shadow);
            let found = diagnose_for(&tree, &offers(), "root-password");
            assert!(found[0].summary.contains(part), "{shadow}");
            assert_eq!(found[0].remedy, Remedy::Asked);
            assert!(found[0].edits.is_empty());
            mends(&tree, &offers(), &wish(HASH), "root-password");
        }
        for shadow in ["root:$6$a$b:19000:0:99999:7:::\n", "root::19000::::::\n"] {
            assert!(diagnose_for(&tree(shadow), &offers(), "root-password").is_empty());
        }
    }

    #[test]
    fn the_wish_changes_one_field() {
        let text = "# c\r\nroot:*:19000:0:99999:7:::\r\nbin:*:1";
        let found = diagnose_with(&tree(text), &offers(), &wish(HASH), "root-password");
        let Change::Write { text: new, mode } = &found[0].edits[0].change else {
            panic!("{found:?}")
        };
        assert_eq!(new, &text.replacen('*', HASH, 1));
        assert_eq!(
            (mode, found[0].edits[0].path.as_str()),
            (&None, "/etc/shadow")
        );
    }

    #[test]
    fn without_shadow_the_field_is_that_of_passwd() {
        for field in ["x", "*", ""] {
            let tree = Tree::new()
                .elf("/sbin/init", "SysV init version")
                .file("/etc/passwd", &PASSWD.replacen('x', field, 1));
            let found = diagnose_with(&tree, &offers(), &wish(HASH), "root-password");
            assert_eq!(found[0].edits[0].path, "/etc/passwd");
            mends(&tree, &offers(), &wish(HASH), "root-password");
        }
    }

    #[test]
    fn hashes_that_would_not_work_are_refused() {
        for hash in ["*", "plain", "$6$a:b", "$6$a\nroot", "$y$j9T$a$b"] {
            let tree = tree("root:*:1::::::\n").elf("/bin/login", "BusyBox v1.36.1");
            let found = diagnose_with(&tree, &offers(), &wish(hash), "root-password");
            assert_eq!(found[0].remedy, Remedy::Manual, "{hash:?}");
            assert!(found[0].edits.is_empty());
        }
    }

    #[test]
    fn who_is_let_in_anyway_needs_no_password() {
        let wishes = Wishes {
            autologin: true,
            ..Wishes::default()
        };
        let locked = tree("root:*:1::::::\n");
        assert!(diagnose_with(&locked, &offers(), &wishes, "root-password").is_empty());
        let no_init = Tree::new().file("/etc/passwd", PASSWD);
        assert!(diagnose_for(&no_init, &offers(), "root-password").is_empty());
    }
}
