//! Who lets a user in: the login program and its kind, gettys, PAM, securetty, and root's account.

mod account;
mod crypt;
pub(crate) mod pam;
mod root;

use crate::Result;
use crate::getty::GETTYS;
use crate::reading::{PROGRAM_DIRS, base_name, evidence, optional, program_in, text};
use repot_model::{LoginFacts, LoginStack};
use repot_rootfs::format::securetty;
use repot_rootfs::{RootRead, contains};

pub(crate) use account::root_account;
pub(crate) use crypt::{Support, library_dirs, supports};
pub(crate) use root::{Root, are_accounts_made, password_in_advance};

/// A login program has some 100 KB; a multi-call binary is recognised by its name, but read as well.
const CONTENT_BYTES: u64 = 8 << 20;

/// Looks at the login stack; `system` is the store directory of a NixOS or Guix System, whose programs and
/// PAM files are below it before the first boot.
pub(crate) fn detect(root: &RootRead, system: Option<&str>) -> Result<LoginFacts> {
    let dirs = program_dirs(system);
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let login = program_in(root, &["/bin", "/usr/bin"], "login")
        .or_else(|| program_in(root, &dirs, "login"));
    let mut facts = LoginFacts {
        stack: LoginStack::None,
        gettys: GETTYS
            .iter()
            .filter_map(|name| program_in(root, &dirs, name))
            .collect(),
        pam: None,
        securetty: text(root, "/etc/securetty")?.map(|content| securetty::parse(&content)),
        evidence: Vec::new(),
        login,
    };
    if let Some(path) = facts.login.clone() {
        let resolved = optional(root.resolve(&path))?.unwrap_or_else(|| path.clone());
        let content = optional(root.read_head(&path, CONTENT_BYTES))?.unwrap_or_default();
        let (stack, why) = stack(&resolved, &content);
        facts.stack = stack;
        facts.evidence.push(evidence(&resolved, None, why));
        if contains(&content, "libpam.so") {
            facts.pam = pam::detect(root, system)?;
        }
    }
    Ok(facts)
}

/// The usual directories and those of a store system's profile.
fn program_dirs(system: Option<&str>) -> Vec<String> {
    let mut dirs: Vec<String> = PROGRAM_DIRS.iter().map(|dir| (*dir).to_owned()).collect();
    if let Some(system) = system {
        for dir in ["profile/bin", "profile/sbin", "sw/bin"] {
            dirs.push(format!("{system}/{dir}"));
        }
    }
    dirs
}

/// Tells login programs apart.
///
/// # Source
/// Texts of the programs: util-linux prints its package name with `--version`; shadow's login refuses with
/// "Cannot possibly work without effective root" (`src/login.c`).
fn stack(resolved: &str, content: &[u8]) -> (LoginStack, &'static str) {
    let name = base_name(resolved);
    if name.starts_with("busybox") || contains(content, "BusyBox v") {
        (LoginStack::Busybox, "a busybox")
    } else if name.starts_with("toybox") || contains(content, "toybox ") {
        (LoginStack::Toybox, "a toybox")
    } else if contains(content, "Cannot possibly work without effective root") {
        (
            LoginStack::Shadow,
            "Cannot possibly work without effective root",
        )
    } else if contains(content, "util-linux") {
        (LoginStack::UtilLinux, "util-linux")
    } else {
        (
            LoginStack::Unknown,
            "a login program that repot does not know",
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::Tree;
    use repot_model::{LoginStack, PasswordState};

    #[test]
    fn stacks_by_content_and_name() {
        for (text, stack) in [
            ("util-linux 2.41", LoginStack::UtilLinux),
            (
                "%s: Cannot possibly work without effective root",
                LoginStack::Shadow,
            ),
            ("BusyBox v1.36.1", LoginStack::Busybox),
            ("hello", LoginStack::Unknown),
        ] {
            let facts = Tree::new().elf("/bin/login", text).facts();
            assert_eq!(facts.login.stack, stack, "{text}");
            assert!(facts.login.pam.is_none());
        }
        assert_eq!(Tree::new().facts().login.stack, LoginStack::None);
    }

    #[test]
    fn pam_includes_are_followed() {
        let tree = Tree::new()
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "auth required pam_securetty.so\n@include common-auth\nsession include all\nauth substack login\n")
            .file("/etc/pam.d/common-auth", "auth [success=1 default=ignore] pam_unix.so nullok\n")
            .file("/etc/pam.d/all", "auth required pam_deny.so\n-session optional pam_systemd.so\n")
            .file("/etc/securetty", "tty1\n#console\n");
        let login = tree.facts().login;
        let seen: Vec<_> = login
            .pam
            .unwrap()
            .modules
            .into_iter()
            .map(|line| (line.path, line.seen))
            .collect();
        assert_eq!(seen[0].1, "auth required pam_securetty.so");
        assert_eq!(seen[1].0, "/etc/pam.d/common-auth");
        assert_eq!(seen[2].1, "-session optional pam_systemd.so");
        // The file that includes itself comes to an end.
        assert!(seen.len() > 3 && seen.len() < 600);
        assert_eq!(login.securetty.unwrap(), ["tty1"]);
    }

    #[test]
    fn root_accounts() {
        let state = |passwd: &str, shadow: &str| {
            Tree::new()
                .file("/etc/passwd", passwd)
                .file("/etc/shadow", shadow)
                .facts()
                .root
                .password
        };
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        assert_eq!(
            state(root, "root:*:19000:0:99999:7:::\n"),
            PasswordState::Locked
        );
        assert_eq!(state(root, "root::19000::::::\n"), PasswordState::Empty);
        assert_eq!(
            state(root, "root:$y$j9T$x$y:19000:0:99999:7:::\n"),
            PasswordState::Set {
                kind: "yescrypt".into()
            }
        );
        assert_eq!(
            state(root, "root:$6$x$y:19000:0:99999:7::100:\n"),
            PasswordState::Expired
        );
        assert_eq!(state(root, "other:*:::::::\n"), PasswordState::Locked);
        assert_eq!(
            state("root::0:0::/root:/bin/sh\n", ""),
            PasswordState::Empty
        );
        assert_eq!(state("", ""), PasswordState::Missing);
        assert_eq!(Tree::new().facts().root.password, PasswordState::Missing);
    }

    #[test]
    fn hashes_stay_in_the_tree() {
        let tree = Tree::new()
            .file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
            .file(
                "/etc/shadow",
                "root:$6$salt$secrethash:19000:0:99999:7:::\n",
            );
        let facts = tree.facts();
        assert!(!format!("{facts:?}").contains("secrethash"));
        assert!(
            !serde_json::to_string(&facts)
                .unwrap()
                .contains("secrethash")
        );
    }
}
