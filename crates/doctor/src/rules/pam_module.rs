//! A line of login's PAM stack names a module that is not in the tree.

use super::{Case, Rule, RuleMeta};
use crate::login::{library_dirs, pam};
use crate::reading::evidence;
use crate::{Result, View, edit};
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::format::pam as format;

#[derive(Debug)]
pub(crate) struct PamModule;

static META: RuleMeta = RuleMeta {
    id: "pam-module",
    severity: Severity::NoLogin,
    summary: "login's PAM stack names a module that is not in the tree",
    explain: "**Symptom**: `Login incorrect` or `Module is unknown` after the right password; the log has \
`PAM unable to dlopen(pam_x.so): cannot open shared object file` and `PAM adding faulty module`.\n\n**Cause**: a file of \
`/etc/pam.d` has a line for a module whose package is not installed, or which a newer Linux-PAM no longer has (pam_tally2, pam_lastlog, \
pam_cracklib). A `-` before the line only keeps it out of the log: if the line is `required`, the login fails all the same.\n\n\
**What repot does**: it makes the line a comment if it opens or closes sessions, or if its module no longer exists anywhere. A line that \
decides who may come in it leaves to you, since a login without it might let in more than was meant.\n\n**By hand**: install the \
module's package, or put a `#` before the line.",
    sources: &[
        "pam.conf(5), \"-\" before the type",
        "Linux-PAM libpam/pam_handlers.c, _pam_load_module()",
        "Linux-PAM NEWS: 1.4 removes pam_cracklib, pam_tally, pam_tally2; 1.6 no longer builds pam_lastlog by default",
    ],
};

/// Modules that Linux-PAM has dropped: no package brings them back.
const DROPPED: &[&str] = &[
    "pam_tally.so",
    "pam_tally2.so",
    "pam_cracklib.so",
    "pam_lastlog.so",
    "pam_console.so",
    "pam_ck_connector.so",
    "pam_stack.so",
];

impl Rule for PamModule {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(stack) = pam::stack(case.tree, case.facts)? else {
            return Ok(Vec::new());
        };
        let dirs = module_dirs(case.tree)?;
        let mut findings: Vec<Finding> = Vec::new();
        for module in &stack.modules {
            let known = |finding: &Finding| finding.evidence.first() == Some(&module.evidence());
            if exists(case.tree, &dirs, &module.module) || findings.iter().any(known) {
                continue;
            }
            let is_fatal = module.is_fatal("module_unknown");
            // What fails without harm and without a word is how distributions write optional parts.
            if !is_fatal && module.optional {
                continue;
            }
            let name = &module.module;
            let mut finding = META.finding(
                format!("login's PAM stack names {name}, which is not in the tree"),
                match is_fatal {
                    true => "Login incorrect".to_owned(),
                    false => {
                        format!("PAM unable to dlopen({name}): cannot open shared object file")
                    }
                },
            );
            finding.cause = format!(
                "the module cannot be loaded, and its line is {}",
                module.control
            );
            if !is_fatal {
                finding.severity = Severity::Cosmetic;
            }
            finding.certainty = match module.control.starts_with('[') {
                true => Certainty::Likely,
                false => Certainty::Certain,
            };
            finding.evidence = vec![module.evidence()];
            finding.evidence.extend(
                dirs.first()
                    .map(|dir| evidence(dir, None, &format!("has no {name}"))),
            );
            let harmless = module.kind == "session"
                || DROPPED.iter().any(|dropped| module.is(dropped))
                || !is_fatal;
            let why = format!("{name} cannot be loaded");
            let edit = match harmless {
                true => edit::rewrite(case.tree, &module.path, &why, |text| {
                    format::comment_out(text, module.line)
                })?,
                false => None,
            };
            match edit {
                Some(edit) => {
                    finding.remedy = Remedy::Automatic;
                    finding.edits.push(edit);
                }
                None => {
                    finding.hint = Some(format!(
                        "install the package that has {name}, or put a # before line {} of {} if the login may do without it",
                        module.line, module.path
                    ));
                }
            }
            findings.push(finding);
        }
        merged(case.tree, findings)
    }
}

/// Edits of one file, made one by one from the same text, become one after another: the last has them all.
fn merged(tree: &View<'_>, mut findings: Vec<Finding>) -> Result<Vec<Finding>> {
    let mut view = tree.clone();
    for finding in &mut findings {
        let Some(line) = finding.evidence.first().and_then(|seen| seen.line) else {
            continue;
        };
        let path = finding.evidence[0].path.clone();
        for edit in &mut finding.edits {
            let again = edit::rewrite(&view, &path, &edit.why, |text| {
                format::comment_out(text, line)
            })?;
            if let Some(again) = again {
                *edit = again;
                view.apply(edit);
            }
        }
    }
    Ok(findings)
}

/// The directories that hold PAM modules in this tree: those with one that no stack lacks.
///
/// # Source
/// Linux-PAM `libpam/Makefile.am`, `DEFAULT_MODULE_PATH`: one directory, chosen by the distribution.
pub(crate) fn module_dirs(tree: &View<'_>) -> Result<Vec<String>> {
    let mut dirs: Vec<String> = library_dirs(tree)?
        .into_iter()
        .map(|dir| format!("{dir}/security"))
        .filter(|dir| {
            ["pam_unix.so", "pam_permit.so", "pam_deny.so"]
                .iter()
                .any(|name| tree.is_file(&format!("{dir}/{name}")))
        })
        .collect();
    dirs.dedup();
    Ok(dirs)
}

/// Whether a module is there. In a tree without any known place for modules, all are taken to be.
fn exists(tree: &View<'_>, dirs: &[String], module: &str) -> bool {
    // `$ISA` stands for `../lib64/security` or the like (pam_handlers.c).
    if module.starts_with('/') && !module.contains('$') {
        return tree.is_file(module) || dirs.is_empty();
    }
    let name = module.rsplit('/').next().unwrap_or(module);
    dirs.is_empty()
        || dirs
            .iter()
            .any(|dir| tree.is_file(&format!("{dir}/{name}")))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy, Severity};

    fn tree(login: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/usr/lib/x86_64-linux-gnu/security/pam_unix.so", "")
            .file("/etc/pam.d/login", login)
    }

    #[test]
    fn lines_of_sessions_become_comments() {
        let tree = tree(
            "auth required pam_unix.so\r\nsession required pam_a.so x\r\n-session required pam_b.so\r\n-session optional pam_systemd.so\r\nauth required pam_tally2.so\r\n",
        );
        let found = diagnose_for(&tree, &offers(), "pam-module");
        assert_eq!(found.len(), 3);
        assert!(
            found
                .iter()
                .all(|found| found.severity == Severity::NoLogin)
        );
        let Change::Write { text, .. } = &found[2].edits[0].change else {
            panic!("{found:?}")
        };
        assert_eq!(
            text,
            "auth required pam_unix.so\r\n#session required pam_a.so x\r\n#-session required pam_b.so\r\n-session optional pam_systemd.so\r\n#auth required pam_tally2.so\r\n"
        );
        mends(&tree, &offers(), &Wishes::default(), "pam-module");
    }

    #[test]
    fn who_decides_about_people_is_left_alone() {
        let found = diagnose_for(
            &tree("auth required pam_oath.so\n"),
            &offers(),
            "pam-module",
        );
        assert_eq!(found[0].remedy, Remedy::Manual);
        let noise =
            tree("session optional pam_motd.so\nsession [default=ignore] /lib/security/pam_x.so\n");
        let found = diagnose_for(&noise, &offers(), "pam-module");
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|found| found.severity == Severity::Cosmetic)
        );
        mends(&noise, &offers(), &Wishes::default(), "pam-module");
    }

    #[test]
    fn a_tree_with_modules_elsewhere_is_not_judged() {
        let elsewhere = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "auth required pam_unix.so\n");
        assert!(diagnose_for(&elsewhere, &offers(), "pam-module").is_empty());
    }
}
