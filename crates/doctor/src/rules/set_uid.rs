//! Set-uid bits or file capabilities have been lost.

use super::{Case, Rule, RuleMeta};
use crate::reading::{PROGRAM_DIRS, evidence, optional};
use crate::{Result, edit};
use repot_model::{Certainty, Change, Finding, Remedy, Severity};
use repot_rootfs::Program;

#[derive(Debug)]
pub(crate) struct SetUid;

static META: RuleMeta = RuleMeta {
    id: "set-uid",
    severity: Severity::Degraded,
    summary: "su, sudo, passwd or ping have lost their set-uid bit or file capability",
    explain: "**Symptom**: `sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set`, `su: Authentication failure` after the right \
password, `passwd: Authentication token manipulation error`, `ping: socket: Operation not permitted`. Root notices nothing.\n\n**Cause**: set-uid \
bits are lost when a normal user unpacks an archive, by `cp -r`, and by every chown; file capabilities (an extended attribute) by tar without \
`--xattrs`.\n\n**What repot does**: it sets the usual mode, 4755, again; for ping, which has either, the bit as well. A tree in which only `su` or \
`passwd` lacks the bit was made so on purpose and is left alone.\n\n**By hand**: `chmod 4755 TREE/bin/su ...`.",
    sources: &[
        "chmod(1), chown(2): set-user-ID bits are cleared; capabilities(7), file capabilities",
        "sudo src/sudo.c, fix_fds/sudo_check_suid(); iputils, \"setcap failed\" in its packages' scripts",
    ],
};

/// Programs that refuse without, and say so.
const NEEDY: &[&str] = &["sudo", "doas", "pkexec"];

/// Programs that every distribution ships with it, and that some people take it from.
const USUAL: &[&str] = &["su", "passwd"];

/// Others that have it, mended together with those.
const FURTHER: &[&str] = &["newgrp", "chsh", "chfn", "gpasswd", "mount", "umount"];

impl Rule for SetUid {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let needy = lacking(case, NEEDY)?;
        let usual = lacking(case, USUAL)?;
        let all_lost = !usual.lacking.is_empty() && usual.having == 0;
        let mut lost = needy.lacking;
        if all_lost {
            lost.extend(usual.lacking);
            lost.extend(lacking(case, FURTHER)?.lacking);
        }
        let mut findings = Vec::new();
        if !lost.is_empty() {
            let mut finding = META.finding(
                format!(
                    "{} {} lost the set-uid bit",
                    list(&lost),
                    if lost.len() == 1 { "has" } else { "have" }
                ),
                match lost.first() {
                    Some(path) if path.ends_with("/sudo") => {
                        format!("sudo: {path} must be owned by uid 0 and have the setuid bit set")
                    }
                    Some(_) | None => "su: Authentication failure".to_owned(),
                },
            );
            finding.certainty = if needy.having == 0 && all_lost {
                Certainty::Certain
            } else {
                Certainty::Likely
            };
            finding.cause =
                "without it, the program runs with the rights of whoever starts it".into();
            restore(case, &mut finding, &lost);
            findings.push(finding);
        }
        findings.extend(ping(case)?);
        Ok(findings)
    }
}

/// What is there, with and without.
#[derive(Debug, Default)]
struct Found {
    having: usize,
    lacking: Vec<String>,
}

fn lacking(case: &Case<'_>, names: &[&str]) -> Result<Found> {
    let mut found = Found::default();
    for name in names {
        let Some(end) = program(case, name)? else {
            continue;
        };
        let mode = case.tree.metadata(&end).map_or(0, |seen| seen.mode);
        if mode & 0o6000 != 0 || has_capability(case, &end)? {
            found.having += 1;
        } else if !found.lacking.contains(&end) {
            found.lacking.push(end);
        }
    }
    Ok(found)
}

/// The program of that name, if it is an ELF file of its own: busybox and scripts have no bit.
fn program(case: &Case<'_>, name: &str) -> Result<Option<String>> {
    for dir in PROGRAM_DIRS {
        let path = format!("{dir}/{name}");
        if !case.tree.is_executable(&path) {
            continue;
        }
        let Some(end) = case
            .tree
            .resolve(&path)
            .filter(|end| end.ends_with(&format!("/{name}")))
        else {
            return Ok(None);
        };
        // Alpine's /bin/su is a link to bbsuid, NixOS keeps its wrappers elsewhere.
        let is_elf = matches!(
            optional(case.tree.root().program(&end))?,
            Some(Program::Elf { .. })
        );
        let is_store =
            end.starts_with("/nix/") || end.starts_with("/gnu/") || end.starts_with("/run/");
        return Ok((is_elf && !is_store).then_some(end));
    }
    Ok(None)
}

fn has_capability(case: &Case<'_>, path: &str) -> Result<bool> {
    Ok(optional(case.tree.root().has_xattr(path, "security.capability"))?.unwrap_or(false))
}

fn restore(case: &Case<'_>, finding: &mut Finding, paths: &[String]) {
    finding.remedy = Remedy::Automatic;
    for path in paths {
        let mode = case.tree.metadata(path).map_or(0o755, |seen| seen.mode);
        finding
            .evidence
            .push(evidence(path, None, &format!("mode {mode:04o}")));
        let why = "the program needs root's rights whoever starts it";
        finding.edits.push(edit::made(
            case.tree,
            path,
            Change::Mode { mode: 0o4755 },
            why,
        ));
    }
}

/// ping, which works without where the kernel lets every group make ICMP sockets.
fn ping(case: &Case<'_>) -> Result<Option<Finding>> {
    let lost = lacking(case, &["ping"])?.lacking;
    if lost.is_empty() || allows_ping(case)? {
        return Ok(None);
    }
    let mut finding = META.finding(
        "ping has lost its file capability",
        "ping: socket: Operation not permitted",
    );
    finding.severity = Severity::Cosmetic;
    finding.certainty = Certainty::Possible;
    finding.cause =
        "only root may make raw sockets, and nothing in the tree sets net.ipv4.ping_group_range"
            .into();
    restore(case, &mut finding, &lost);
    Ok(Some(finding))
}

fn allows_ping(case: &Case<'_>) -> Result<bool> {
    let mut files = vec!["/etc/sysctl.conf".to_owned()];
    for dir in ["/usr/lib/sysctl.d", "/etc/sysctl.d"] {
        files.extend(
            case.tree
                .names(dir)?
                .into_iter()
                .take(64)
                .map(|name| format!("{dir}/{name}")),
        );
    }
    for file in files {
        if case
            .tree
            .text(&file)?
            .is_some_and(|text| text.contains("ping_group_range"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A few of them, and how many more.
fn list(paths: &[String]) -> String {
    let shown: Vec<&str> = paths.iter().take(3).map(String::as_str).collect();
    match paths.len().checked_sub(3) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        Some(0) | None => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::Severity;

    fn tree(programs: &[(&str, u32)]) -> Tree {
        programs
            .iter()
            .fold(Tree::new().link("/bin", "usr/bin"), |tree, (path, mode)| {
                tree.elf(path, "").mode(path, *mode)
            })
    }

    #[test]
    fn bits_come_back() {
        let lost = tree(&[
            ("/usr/bin/su", 0o755),
            ("/usr/bin/passwd", 0o755),
            ("/usr/bin/mount", 0o755),
            ("/usr/bin/sudo", 0o755),
        ]);
        let found = diagnose_for(&lost, &offers(), "set-uid");
        assert_eq!((found.len(), found[0].edits.len()), (1, 4));
        assert!(
            found[0]
                .symptom
                .starts_with("sudo: /usr/bin/sudo must be owned")
        );
        mends(&lost, &offers(), &Wishes::default(), "set-uid");
        let sudo = tree(&[("/usr/bin/su", 0o4755), ("/usr/bin/sudo", 0o755)]);
        assert_eq!(diagnose_for(&sudo, &offers(), "set-uid")[0].edits.len(), 1);
    }

    #[test]
    fn what_was_made_so_is_left_alone() {
        for fine in [
            tree(&[
                ("/usr/bin/su", 0o755),
                ("/usr/bin/passwd", 0o4755),
                ("/usr/bin/mount", 0o755),
            ]),
            tree(&[("/usr/bin/busybox", 0o755)]).link("/usr/bin/su", "busybox"),
            Tree::new().script("/usr/bin/su", "#!/bin/sh\n"),
            Tree::new(),
        ] {
            assert!(diagnose_for(&fine, &offers(), "set-uid").is_empty());
        }
    }

    #[test]
    fn ping_has_another_way() {
        let ping = tree(&[("/usr/bin/ping", 0o755)]);
        assert_eq!(
            diagnose_for(&ping, &offers(), "set-uid")[0].severity,
            Severity::Cosmetic
        );
        mends(&ping, &offers(), &Wishes::default(), "set-uid");
        let open = ping.file(
            "/usr/lib/sysctl.d/50.conf",
            "-net.ipv4.ping_group_range = 0 2147483647\n",
        );
        assert!(diagnose_for(&open, &offers(), "set-uid").is_empty());
    }
}
