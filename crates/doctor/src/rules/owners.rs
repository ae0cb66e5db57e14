//! The tree's files do not belong to root: a normal user has unpacked it, or another container system has shifted its IDs.

use super::{Case, Rule, RuleMeta};
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Certainty, Change, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct Owners;

static META: RuleMeta = RuleMeta {
    id: "owners",
    severity: Severity::NoLogin,
    summary: "the tree's files do not belong to root",
    explain: "**Symptom**: `sudo: /etc/sudo.conf is owned by uid 1000, should be 0`, `sshd: /run/sshd must be owned by root`, `Detected unsafe \
path transition / -> /var`, and, where the owner's ID does not exist in the machine, `Permission denied` for root itself, from the first \
file that init reads with mode 600.\n\n**Cause**: an archive that a normal user unpacks belongs to that user. LXD, podman and nspawn's `-U` shift \
a tree's IDs by a constant when they keep it for a container: 0 becomes 100000, 42 becomes 100042.\n\n**What repot does**: it says which. \
A few directories with a wrong owner are mended; a whole tree is not, since neither a layer nor an edit can hold a million changes.\n\n\
**By hand**: a shifted tree through a mount that maps the IDs back: `mount --bind -o X-mount.idmap=b:100000:0:65536 TREE DIR`, or \
`fuidshift`; a tree that a user has unpacked: as root, from its archive, again (`repot import FILE`).",
    sources: &[
        "mount_setattr(2), ID-mapped mounts; mount(8), X-mount.idmap",
        "systemd src/basic/chase.c, unsafe path transition",
        "user_namespaces(7), unmapped IDs",
    ],
};

/// What belongs to root in every distribution.
const PATHS: &[&str] = &[
    "/",
    "/etc",
    "/usr",
    "/usr/bin",
    "/bin",
    "/var",
    "/etc/passwd",
    "/etc/group",
    "/bin/sh",
];

/// What belongs to another group in most: it shows whether all IDs were shifted or all were lost.
const WITNESSES: &[&str] = &[
    "/etc/shadow",
    "/etc/gshadow",
    "/var/mail",
    "/var/spool/mail",
    "/var/local",
    "/var/log/btmp",
    "/var/log/journal",
    "/usr/bin/wall",
    "/usr/sbin/unix_chkpwd",
];

/// So many wrong owners are changed one by one.
const FEW: usize = 3;

/// What the owners look like.
#[derive(Debug, PartialEq, Eq)]
enum Owned {
    /// By root.
    Root,
    /// A few not.
    Mostly(Vec<&'static str>),
    /// All IDs are higher by a constant.
    Shifted { by: u32, proven: bool },
    /// All by one account.
    By(u32),
    /// By several: no system in it.
    Mixed,
}

impl Rule for Owners {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let ids = |paths: &'static [&'static str]| -> Vec<(&'static str, u32, u32)> {
            let found = paths.iter().filter_map(|path| {
                case.tree
                    .metadata(path)
                    .map(|found| (*path, found.uid, found.gid))
            });
            found.collect()
        };
        let owned = judge(&ids(PATHS), &ids(WITNESSES));
        let mut finding = META.finding("", "Permission denied");
        let first = |uid: u32| {
            let path = ids(PATHS).into_iter().find(|(_, found, _)| *found == uid);
            path.map(|(path, uid, gid)| evidence(path, None, &format!("belongs to {uid}:{gid}")))
        };
        match owned {
            Owned::Root => return Ok(Vec::new()),
            Owned::Mostly(paths) => {
                finding.summary = format!(
                    "{} {} not belong to root",
                    paths.join(", "),
                    if paths.len() == 1 { "does" } else { "do" }
                );
                finding.symptom = format!("Detected unsafe path transition {} -> /var", paths[0]);
                finding.severity = Severity::Degraded;
                finding.cause = "the directory was made by another account before the tree was unpacked into it".into();
                finding.remedy = Remedy::Automatic;
                for path in paths {
                    let id = case.tree.metadata(path).map_or(0, |found| found.uid);
                    finding
                        .evidence
                        .push(evidence(path, None, &format!("belongs to {id}")));
                    let why = "it belongs to root in every distribution";
                    finding.edits.push(edit::made(
                        case.tree,
                        path,
                        Change::Owner { uid: 0, gid: 0 },
                        why,
                    ));
                }
            }
            Owned::Shifted { by, proven } => {
                finding.summary = format!("the owners of the tree's files are shifted by {by}");
                finding.cause =
                    "another container system has kept this tree with its ID mapping on disk"
                        .into();
                finding.certainty = if proven {
                    Certainty::Certain
                } else {
                    Certainty::Likely
                };
                finding.evidence.extend(first(by));
                finding.hint = Some(format!(
                    "mount --bind -o X-mount.idmap=b:{by}:0:65536 TREE DIR shows it as it should be: boot DIR"
                ));
            }
            Owned::By(uid) => {
                finding.summary = format!("the tree belongs to the account {uid}, not to root");
                finding.cause =
                    "it was unpacked by that account, which may not give files away".into();
                finding.evidence.extend(first(uid));
                finding.hint = Some(
                    "unpack the archive as root: `repot import FILE`. Owners and set-uid bits of a tree unpacked by a user are lost".into(),
                );
            }
            Owned::Mixed => {
                finding.summary =
                    "the tree's files belong to several accounts, and not to root".into();
                finding.cause =
                    "it was put together from parts, or copied without its owners".into();
                finding.certainty = Certainty::Likely;
                finding.evidence = ids(PATHS)
                    .into_iter()
                    .filter(|(_, uid, _)| *uid != 0)
                    .map(|(path, uid, gid)| {
                        evidence(path, None, &format!("belongs to {uid}:{gid}"))
                    })
                    .collect();
                finding.hint = Some("unpack the archive as root: `repot import FILE`".into());
            }
        }
        // With the host's IDs, root may do everything whoever the owner is.
        if !case.offers.unprivileged {
            finding.severity = Severity::Degraded;
            if finding.symptom == "Permission denied" {
                finding.symptom = "sudo: /etc/sudo.conf is owned by uid 1000, should be 0".into();
            }
        }
        Ok(vec![finding])
    }
}

fn judge(paths: &[(&'static str, u32, u32)], witnesses: &[(&'static str, u32, u32)]) -> Owned {
    let wrong: Vec<&(&str, u32, u32)> = paths.iter().filter(|(_, uid, _)| *uid != 0).collect();
    let Some((_, uid, gid)) = wrong.first() else {
        return Owned::Root;
    };
    if wrong.len() <= FEW && wrong.len() * 2 <= paths.len() {
        return Owned::Mostly(wrong.iter().map(|(path, ..)| *path).collect());
    }
    if wrong.iter().any(|(_, other, _)| other != uid) {
        return Owned::Mixed;
    }
    let proven = witnesses.iter().any(|(_, _, group)| {
        group != gid && group.checked_sub(*gid).is_some_and(|group| group < 1000)
    });
    if uid == gid && (proven || *uid >= 65_536) {
        Owned::Shifted { by: *uid, proven }
    } else {
        Owned::By(*uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(uid: u32) -> Vec<(&'static str, u32, u32)> {
        PATHS.iter().map(|path| (*path, uid, uid)).collect()
    }

    #[test]
    fn what_the_owners_say() {
        assert_eq!(judge(&all(0), &[]), Owned::Root);
        assert_eq!(judge(&[], &[]), Owned::Root);
        let shadow = |gid| [("/etc/shadow", gid, gid)];
        assert_eq!(
            judge(&all(100_000), &shadow(100_042)),
            Owned::Shifted {
                by: 100_000,
                proven: true
            }
        );
        assert_eq!(
            judge(&all(524_288), &[]),
            Owned::Shifted {
                by: 524_288,
                proven: false
            }
        );
        assert_eq!(judge(&all(1000), &shadow(1000)), Owned::By(1000));
        let mut mixed = all(1000);
        mixed[4].1 = 33;
        assert_eq!(judge(&mixed, &[]), Owned::Mixed);
        let mut few = all(0);
        (few[0].1, few[5].1) = (1000, 1000);
        assert_eq!(judge(&few, &[]), Owned::Mostly(vec!["/", "/var"]));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "tests look at their own tree")]
    fn trees_of_another_account() {
        use crate::fake::{Tree, diagnose_for, offers};
        let tree = Tree::new().elf("/bin/sh", "").file("/etc/passwd", "");
        let owner = tree.root().metadata("/etc").unwrap().uid;
        let found = diagnose_for(&tree, &offers(), "owners");
        // As root's it is fine; as anybody else's it is what the rule is about.
        assert_eq!(found.is_empty(), owner == 0, "{found:?}");
    }
}
