//! What a session inside a machine needs to know of the tree: accounts, search path, environment, host name.
//!
//! Small readers for the runtime and the command line, all beneath the root of the tree.

use crate::Result;
use crate::reading::text;
use repot_rootfs::RootRead;
use repot_rootfs::format::{assignments, passwd};

/// An account with everything that a session needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// Login name.
    pub name: String,
    /// User ID inside the tree.
    pub uid: u32,
    /// Primary group inside the tree.
    pub gid: u32,
    /// Supplementary groups, the primary one not repeated.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Login shell; `/bin/sh` where the field is empty (passwd(5)).
    pub shell: String,
}

/// All accounts, or `None` if there is no passwd file (Guix System and NixOS make it at first boot).
pub(crate) fn users(root: &RootRead) -> Result<Option<Vec<passwd::User>>> {
    Ok(text(root, "/etc/passwd")?.map(|content| passwd::parse_users(&content)))
}

/// Looks up an account by name, or by user ID if `name` is a number that is no name.
///
/// # Errors
/// Only if the machine fails to read the tree.
pub fn user(root: &RootRead, name: &str) -> Result<Option<UserEntry>> {
    let users = users(root)?.unwrap_or_default();
    let by_id = || {
        let uid: u32 = name.parse().ok()?;
        users.iter().find(|user| user.uid == uid)
    };
    let Some(user) = users.iter().find(|user| user.name == name).or_else(by_id) else {
        return Ok(None);
    };
    let groups = passwd::parse_groups(&text(root, "/etc/group")?.unwrap_or_default());
    let mut ids: Vec<u32> = groups
        .iter()
        .filter(|group| group.gid != user.gid && group.members.contains(&user.name))
        .map(|group| group.gid)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(UserEntry {
        name: user.name.clone(),
        uid: user.uid,
        gid: user.gid,
        groups: ids,
        home: user.home.clone(),
        shell: match user.shell.as_str() {
            "" => "/bin/sh".to_owned(),
            shell => shell.to_owned(),
        },
    }))
}

/// `PATH` for a session from login.defs(5): `ENV_SUPATH` for user ID 0, `ENV_PATH` for others.
///
/// # Errors
/// Only if the machine fails to read the tree.
pub fn login_path(root: &RootRead, uid: u32) -> Result<Option<String>> {
    let key = if uid == 0 { "ENV_SUPATH" } else { "ENV_PATH" };
    // openSUSE ships the file in /usr/etc.
    for path in ["/etc/login.defs", "/usr/etc/login.defs"] {
        let Some(content) = text(root, path)? else {
            continue;
        };
        let values = assignments::parse_blank_separated(&content);
        if let Some(found) = assignments::get(&values, key) {
            // Written with or without `PATH=` in front.
            let value = found.value.strip_prefix("PATH=").unwrap_or(&found.value);
            return Ok(Some(value.to_owned()));
        }
    }
    Ok(None)
}

/// The variables of `/etc/environment`, as pam_env(8) reads it.
///
/// # Errors
/// Only if the machine fails to read the tree.
pub fn environment(root: &RootRead) -> Result<Vec<(String, String)>> {
    let content = text(root, "/etc/environment")?.unwrap_or_default();
    Ok(assignments::parse(&content)
        .into_iter()
        .map(|assignment| (assignment.key, assignment.value))
        .collect())
}

/// The host name that the tree gives itself: hostname(5), `/etc/HOSTNAME` (Slackware), `/etc/conf.d/hostname`
/// (Gentoo). `None` if there is none, or one that no host may have.
///
/// # Errors
/// Only if the machine fails to read the tree.
pub fn hostname(root: &RootRead) -> Result<Option<String>> {
    for path in ["/etc/hostname", "/etc/HOSTNAME"] {
        let content = text(root, path)?.unwrap_or_default();
        let name = content
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        if let Some(name) = name.and_then(valid_hostname) {
            return Ok(Some(name));
        }
    }
    let values = assignments::parse(&text(root, "/etc/conf.d/hostname")?.unwrap_or_default());
    Ok(assignments::get(&values, "hostname").and_then(|found| valid_hostname(&found.value)))
}

/// hostname(7): letters, digits, `-` and `.`, at most 64 characters for the kernel.
fn valid_hostname(name: &str) -> Option<String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    (!name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(valid))
        .then(|| name.to_owned())
}

/// One line that names the distribution, without a whole inspection.
///
/// # Errors
/// Only if the machine fails to read the tree.
pub fn os_name(root: &RootRead) -> Result<String> {
    Ok(crate::distro::detect(root, None)?.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    #[test]
    fn users_and_groups() {
        let tree = Tree::new()
            .file(
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:\n",
            )
            .file(
                "/etc/group",
                "root:x:0:\nsudo:x:27:ann\nann:x:1000:ann\naudio:x:20:bob,ann\n",
            );
        let root = tree.root();
        let ann = user(&root, "ann").unwrap().unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups), (1000, 1000, vec![20, 27]));
        assert_eq!(ann.shell, "/bin/sh");
        assert_eq!(user(&root, "1000").unwrap().unwrap().name, "ann");
        assert_eq!(user(&root, "nobody").unwrap(), None);
    }

    #[test]
    fn session_settings() {
        let tree = Tree::new()
            .file(
                "/etc/login.defs",
                "# c\nENV_SUPATH\tPATH=/sbin:/bin\nENV_PATH\tPATH=/bin\n",
            )
            .file("/etc/environment", "LANG=\"de_DE.UTF-8\"\n# x\nA=b\n")
            .file("/etc/hostname", "# name\nbox\n");
        let root = tree.root();
        assert_eq!(login_path(&root, 0).unwrap().as_deref(), Some("/sbin:/bin"));
        assert_eq!(login_path(&root, 5).unwrap().as_deref(), Some("/bin"));
        assert_eq!(
            environment(&root).unwrap()[0],
            ("LANG".to_owned(), "de_DE.UTF-8".to_owned())
        );
        assert_eq!(hostname(&root).unwrap().as_deref(), Some("box"));
        assert_eq!(os_name(&root).unwrap(), "unknown Linux distribution");
    }

    #[test]
    fn host_names_are_checked() {
        for (content, name) in [
            ("bad name", None),
            ("a;b", None),
            ("-x", None),
            ("", None),
            ("a.b-c", Some("a.b-c")),
        ] {
            let tree = Tree::new().file("/etc/hostname", content);
            let root = tree.root();
            assert_eq!(hostname(&root).unwrap().as_deref(), name, "{content}");
        }
    }
}
