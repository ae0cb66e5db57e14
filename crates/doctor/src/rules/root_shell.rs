//! Root's shell is missing, cannot be executed, or sends everybody away.

use super::{Case, Rule, RuleMeta};
use crate::login::Root;
use crate::reading::{base_name, evidence};
use crate::{Result, View, candidate, edit};
use repot_model::{Evidence, Finding, Remedy, Severity};
use repot_rootfs::format::passwd;

#[derive(Debug)]
pub(crate) struct RootShell;

static META: RuleMeta = RuleMeta {
    id: "root-shell",
    severity: Severity::NoLogin,
    summary: "root's shell is missing, cannot be executed, or is nologin",
    explain: "**Symptom**: after the right password the prompt comes back at once, with `login: failed to execute /bin/zsh: No such \
file or directory`, `Cannot execute /bin/zsh: No such file or directory` or `This account is currently not available.`\n\n\
**Cause**: the last field of root's line in `/etc/passwd` names a program that is not in the tree (a shell that was not installed, \
or came with a package that was taken out), that the kernel cannot execute, or `nologin` or `false`.\n\n**What repot does**: it \
puts the best shell that the tree has into that field: bash, else sh, else ash.\n\n**By hand**: `usermod -R TREE -s /bin/sh root`.",
    sources: &[
        "passwd(5), nologin(8)",
        "util-linux login-utils/login.c; shadow libmisc/shell.c",
    ],
};

/// Shells to put in its place, the most convenient first.
const SHELLS: &[&str] = &[
    "/bin/bash",
    "/usr/bin/bash",
    "/bin/sh",
    "/usr/bin/sh",
    "/bin/ash",
    "/usr/bin/ash",
];

impl Rule for RootShell {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(root) = Root::read(case.tree)? else {
            return Ok(Vec::new());
        };
        let shell = match root.user.shell.as_str() {
            "" => "/bin/sh",
            shell => shell,
        };
        // Guix System and NixOS make these at boot.
        if ["/run/", "/nix/", "/gnu/"]
            .iter()
            .any(|top| shell.starts_with(top))
            || case.facts.init.is_none()
        {
            return Ok(Vec::new());
        }
        let (reason, symptom, seen) = if matches!(base_name(shell), "nologin" | "false" | "true") {
            let symptom = "This account is currently not available.".to_owned();
            (format!("is {shell}, which lets nobody in"), symptom, None)
        } else if let Some((reason, seen)) = broken(case.tree, shell)? {
            let error = match reason.contains("not executable") {
                true => "Permission denied",
                false => "No such file or directory",
            };
            (
                format!("{shell} {reason}"),
                format!("login: failed to execute {shell}: {error}"),
                Some(seen),
            )
        } else {
            return Ok(Vec::new());
        };
        let mut finding = META.finding(format!("root's shell {reason}"), symptom);
        finding.cause =
            "login starts what root's line in /etc/passwd names, and nothing else".into();
        let seen_line = format!("account {} with shell {shell}", root.user.name);
        finding.evidence = vec![evidence("/etc/passwd", Some(root.user.line), &seen_line)];
        finding.evidence.extend(seen);
        let mut better = None;
        for path in SHELLS {
            if *path != shell && broken(case.tree, path)?.is_none() {
                better = Some(*path);
                break;
            }
        }
        let edit = match better {
            Some(better) => {
                let why = format!("root's shell becomes {better}");
                let name = &root.user.name;
                edit::rewrite(case.tree, "/etc/passwd", &why, |text| {
                    passwd::set_shell(text, name, better)
                })?
            }
            None => None,
        };
        match edit {
            Some(edit) => {
                finding.remedy = Remedy::Automatic;
                finding.edits.push(edit);
            }
            None => finding.hint = Some("install a shell into the tree".into()),
        }
        Ok(vec![finding])
    }
}

/// Why a shell cannot be started, if so.
fn broken(view: &View<'_>, shell: &str) -> Result<Option<(String, Evidence)>> {
    let reason = match view.resolve(shell).filter(|_| view.exists(shell)) {
        None => Some("does not exist".to_owned()),
        Some(end) => candidate::why_not(view.root(), &end)?,
    };
    Ok(reason.map(|reason| {
        let seen = evidence(shell, None, &reason);
        (reason, seen)
    }))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy};

    fn tree(shell: &str) -> Tree {
        let passwd = format!("root:x:0:0:root:/root:{shell}\r\nbin:x:1:1::/:/bin/false\r\n");
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/passwd", &passwd)
    }

    #[test]
    fn shells_that_do_not_work_are_replaced() {
        for (shell, symptom) in [
            (
                "/bin/zsh",
                "login: failed to execute /bin/zsh: No such file or directory",
            ),
            (
                "/bin/text",
                "login: failed to execute /bin/text: Permission denied",
            ),
            (
                "/usr/sbin/nologin",
                "This account is currently not available.",
            ),
        ] {
            let tree = tree(shell).elf("/bin/sh", "").file("/bin/text", "x");
            let found = diagnose_for(&tree, &offers(), "root-shell");
            assert_eq!(found[0].symptom, symptom);
            let Change::Write { text, .. } = &found[0].edits[0].change else {
                panic!("{found:?}")
            };
            assert!(
                text.starts_with("root:x:0:0:root:/root:/bin/sh\r\nbin:"),
                "{text}"
            );
            mends(&tree, &offers(), &Wishes::default(), "root-shell");
        }
    }

    #[test]
    fn without_any_shell_it_is_the_users_turn() {
        let found = diagnose_for(&tree("/bin/zsh"), &offers(), "root-shell");
        assert_eq!(found[0].remedy, Remedy::Manual);
    }

    #[test]
    fn shells_that_work_or_come_later_are_fine() {
        let tree_with = |shell: &str| tree(shell).elf("/bin/sh", "");
        for shell in ["", "/bin/sh", "/run/current-system/profile/bin/bash"] {
            assert!(diagnose_for(&tree_with(shell), &offers(), "root-shell").is_empty());
        }
    }
}
