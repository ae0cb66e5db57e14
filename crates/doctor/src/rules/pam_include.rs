//! A file of login's PAM stack includes one that is not there.

use super::{Case, Rule, RuleMeta};
use crate::login::pam::{self, BrokenInclude};
use crate::reading::evidence;
use crate::rules::pam_module::module_dirs;
use crate::{Result, edit};
use repot_model::{Change, Edit, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct PamInclude;

static META: RuleMeta = RuleMeta {
    id: "pam-include",
    severity: Severity::NoLogin,
    summary: "login's PAM stack includes a file that is not there",
    explain: "**Symptom**: `login: PAM Failure, aborting: Critical error - immediate abort`, or `Login incorrect`; the log has \
`PAM _pam_load_conf_file: unable to open config for /etc/pam.d/common-auth`.\n\n**Cause**: `@include common-auth` or \
`auth include system-auth` names a file that a package's installation was to make: Debian's pam-auth-update, authselect on Fedora and RHEL \
(where `system-auth` is a link that dangles), pambase elsewhere. Linux-PAM gives up the whole stack.\n\n**What repot does**: it lays a file \
there that checks passwords with pam_unix, and nothing else, which is the least that such a file means. Where pam_unix is not in the tree it \
leaves it to you.\n\n**By hand**: `pam-auth-update --force`, `authselect select minimal --force`, or install pambase.",
    sources: &[
        "pam.conf(5), include, substack, @include",
        "Linux-PAM libpam/pam_handlers.c, _pam_load_conf_file()",
    ],
};

const KINDS: [&str; 4] = ["auth", "account", "password", "session"];

impl Rule for PamInclude {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(stack) = pam::stack(case.tree, case.facts)? else {
            return Ok(Vec::new());
        };
        let has_unix = module_dirs(case.tree)?
            .iter()
            .any(|dir| case.tree.is_file(&format!("{dir}/pam_unix.so")));
        let mut files: Vec<&str> = stack
            .broken
            .iter()
            .map(|broken| broken.file.as_str())
            .collect();
        files.sort_unstable();
        files.dedup();
        let mut findings = Vec::new();
        for file in files {
            let includes: Vec<&BrokenInclude> = stack
                .broken
                .iter()
                .filter(|broken| broken.file == file)
                .collect();
            let path = match file.starts_with('/') {
                true => file.to_owned(),
                false => format!("/etc/pam.d/{file}"),
            };
            let mut finding = META.finding(
                format!("login's PAM stack includes {path}, which is not there"),
                "login: PAM Failure, aborting: Critical error - immediate abort",
            );
            finding.cause = "Linux-PAM gives up a stack if one of its files is missing".into();
            finding.evidence = includes
                .iter()
                .map(|broken| {
                    evidence(&broken.path, Some(broken.line), &format!("includes {file}"))
                })
                .collect();
            let seen = match case.tree.read_link(&path) {
                Some(to) => format!("a link to {to}, which leads nowhere"),
                None => "does not exist".to_owned(),
            };
            finding.evidence.push(evidence(&path, None, &seen));
            // A name that leads out of the directory is not written to.
            if has_unix && !file.contains("..") {
                finding.remedy = Remedy::Automatic;
                finding
                    .edits
                    .extend(edits(case, &path, &text(file, &includes)));
            } else {
                finding.hint = Some(
                    "install what makes it: libpam-runtime (Debian), authselect (Fedora), pambase (Arch, Gentoo, Alpine)".into(),
                );
            }
            findings.push(finding);
        }
        Ok(findings)
    }
}

/// The file. A link that dangles goes first, since nothing can be written at its end.
fn edits(case: &Case<'_>, path: &str, text: &str) -> Vec<Edit> {
    let write = |change| {
        edit::made(
            case.tree,
            path,
            change,
            "passwords are checked, and nothing else is done",
        )
    };
    let mut edits = Vec::new();
    if case.tree.symlink_kind(path).is_some() {
        edits.push(crate::edit::remove(case.tree, path, "it leads nowhere"));
    }
    edits.push(write(Change::Write {
        text: text.to_owned(),
        mode: Some(0o644),
    }));
    edits
}

/// Lines for the types that are included from it: by the include, or by the name where all lines are meant (`common-auth`).
fn text(file: &str, includes: &[&BrokenInclude]) -> String {
    let named: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| file.contains(kind))
        .collect();
    let mut text =
        "#%PAM-1.0\n# Written by repot: the file that was included here was missing.\n".to_owned();
    for kind in KINDS {
        let wanted = includes.iter().any(|include| match &include.kind {
            Some(included) => included == kind,
            None => named.is_empty() || named.contains(&kind),
        });
        if wanted {
            text.push_str(&format!("{kind}\trequired\tpam_unix.so\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy};

    fn tree(login: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", login)
    }

    #[test]
    fn the_least_that_it_means_is_written() {
        let lines = "@include common-auth\nauth include system-auth\naccount include system-auth\n";
        let tree = tree(lines)
            .file("/usr/lib/security/pam_unix.so", "")
            .link("/etc/pam.d/system-auth", "/etc/authselect/system-auth");
        let found = diagnose_for(&tree, &offers(), "pam-include");
        assert_eq!(found.len(), 2);
        let texts: Vec<&str> = found
            .iter()
            .flat_map(|found| &found.edits)
            .filter_map(|edit| match &edit.change {
                Change::Write { text, .. } => text.split_once("missing.\n").map(|(_, rest)| rest),
                Change::Remove
                | Change::Link { .. }
                | Change::Directory { .. }
                | Change::Mode { .. }
                | Change::Owner { .. } => None,
            })
            .collect();
        assert_eq!(
            texts,
            [
                "auth\trequired\tpam_unix.so\n",
                "auth\trequired\tpam_unix.so\naccount\trequired\tpam_unix.so\n"
            ]
        );
        mends(&tree, &offers(), &Wishes::default(), "pam-include");
    }

    #[test]
    fn without_pam_unix_it_is_the_users_turn() {
        let found = diagnose_for(&tree("@include common-auth\n"), &offers(), "pam-include");
        assert_eq!(found[0].remedy, Remedy::Manual);
        let whole = tree("@include common-auth\n").file("/etc/pam.d/common-auth", "");
        assert!(diagnose_for(&whole, &offers(), "pam-include").is_empty());
    }
}
