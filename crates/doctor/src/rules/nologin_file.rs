//! A nologin file keeps everybody but root out, and nobody will remove it.

use super::{Case, Rule, RuleMeta};
use crate::login::pam;
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Change, Finding, LoginStack, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct NologinFile;

static META: RuleMeta = RuleMeta {
    id: "nologin-file",
    severity: Severity::Degraded,
    summary: "a nologin file has been left behind, or is made at boot and never removed",
    explain: "**Symptom**: every account but root is sent away, with the text of the file, or `System is booting up. Unprivileged users \
are not permitted to log in yet.`, or `Login incorrect`.\n\n**Cause**: `/etc/nologin` or `/run/nologin` exists. A shutdown makes it so \
that nobody comes in any more; copied together with a running system, it stays. With systemd, `systemd-tmpfiles` makes one at every boot, \
and `systemd-user-sessions.service` removes it; images for application containers often lack that unit.\n\n**What repot does**: it takes \
the file away; where the unit that would remove it is missing or masked, it switches off the line that makes it.\n\n**By hand**: \
`rm TREE/etc/nologin`.",
    sources: &[
        "nologin(5), pam_nologin(8)",
        "systemd tmpfiles.d/systemd-nologin.conf, units/systemd-user-sessions.service.in",
        "geerlingguy/docker-centos7-ansible#6",
    ],
};

/// The file itself. What is below `/run` is gone where the engine mounts that.
const FILES: &[(&str, &str)] = &[
    ("/etc/nologin", ""),
    ("/var/run/nologin", "/run"),
    ("/run/nologin", "/run"),
];

const TMPFILES: &str = "systemd-nologin.conf";
const UNIT: &str = "systemd-user-sessions.service";
const UNIT_DIRS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

impl Rule for NologinFile {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        let login = &case.facts.login;
        let stack = pam::stack(case.tree, case.facts)?;
        let by_pam = stack.as_ref().is_some_and(|stack| {
            let mut modules = stack.modules.iter();
            modules.any(|module| module.is("pam_nologin.so"))
        });
        // Without PAM, the login programs look themselves (nologin(5)).
        let asks =
            by_pam || (login.login.is_some() && login.stack != LoginStack::None && stack.is_none());
        if !asks {
            return Ok(Vec::new());
        }
        let mut findings = Vec::new();
        for (path, mount) in FILES {
            let mounted = case.offers.mounts.iter().any(|mounts| mounts == mount);
            // /var/run is nearly always a link to /run, and the file then the same.
            let place = case.tree.place(path);
            if !case.tree.exists(path) || mounted && place.starts_with("/run/") {
                continue;
            }
            let text = case.tree.text(path)?.unwrap_or_default();
            let line = text.lines().next().unwrap_or_default().trim();
            let symptom = if line.is_empty() {
                "Login incorrect"
            } else {
                line
            };
            let mut finding = META.finding(format!("{path} has been left behind"), symptom);
            finding.cause = "whoever is not root is sent away while that file exists".into();
            finding.evidence = vec![evidence(path, Some(1), symptom)];
            finding.remedy = Remedy::Automatic;
            let why = "only a shutdown that goes on should keep people out";
            finding
                .edits
                .push(edit::made(case.tree, path, Change::Remove, why));
            findings.push(finding);
            break;
        }
        if by_pam && init.id.0 == "systemd" {
            findings.extend(never_removed(case));
        }
        Ok(findings)
    }
}

/// The file that is made at each boot, and the unit that is not there to remove it.
fn never_removed(case: &Case<'_>) -> Option<Finding> {
    let maker = format!("/usr/lib/tmpfiles.d/{TMPFILES}");
    let own = format!("/etc/tmpfiles.d/{TMPFILES}");
    if !case.tree.is_file(&maker) || case.tree.symlink_kind(&own).is_some() {
        return None;
    }
    let found = UNIT_DIRS
        .iter()
        .map(|dir| format!("{dir}/{UNIT}"))
        .find(|path| case.tree.symlink_kind(path).is_some());
    let seen = match &found {
        None => "does not exist",
        Some(path) if case.tree.read_link(path).as_deref() == Some("/dev/null") => "masked",
        Some(path)
            if case
                .tree
                .metadata(path)
                .is_some_and(|found| found.size_bytes == 0) =>
        {
            "masked"
        }
        Some(_) => return None,
    };
    let path = found.unwrap_or_else(|| format!("/usr/lib/systemd/system/{UNIT}"));
    let mut finding = META.finding(
        "systemd makes /run/nologin at boot, and nothing removes it",
        "System is booting up. Unprivileged users are not permitted to log in yet.",
    );
    finding.cause = format!("{UNIT} removes it, and that unit is missing or masked");
    finding.evidence = vec![
        evidence(&path, None, seen),
        evidence(&maker, None, "makes /run/nologin"),
    ];
    finding.remedy = Remedy::Automatic;
    finding.edits.push(edit::made(
        case.tree,
        &own,
        Change::Link {
            to: "/dev/null".into(),
        },
        "the file that nobody would remove is not made",
    ));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;

    fn tree() -> Tree {
        Tree::new()
            .elf("/usr/lib/systemd/systemd", "systemd 252 running in")
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "account required pam_nologin.so\n")
    }

    #[test]
    fn files_left_behind_go() {
        let left = tree().file("/etc/nologin", "System is going down.\n");
        let found = diagnose_for(&left, &offers(), "nologin-file");
        assert_eq!(found[0].symptom, "System is going down.");
        mends(&left, &offers(), &Wishes::default(), "nologin-file");
        let busybox = Tree::new()
            .elf("/sbin/init", "BusyBox v1.36.1\0/etc/inittab")
            .elf("/bin/login", "BusyBox v1.36.1")
            .file("/etc/nologin", "");
        mends(&busybox, &offers(), &Wishes::default(), "nologin-file");
        // It is below a mount of the engine's, or nobody asks.
        let mounted = tree().file("/run/nologin", "").link("/var/run", "/run");
        assert!(diagnose_for(&mounted, &offers(), "nologin-file").is_empty());
        let mut bare = offers();
        bare.mounts.clear();
        mends(&mounted, &bare, &Wishes::default(), "nologin-file");
        let nobody = left.file("/etc/pam.d/login", "auth required pam_unix.so\n");
        assert!(diagnose_for(&nobody, &offers(), "nologin-file").is_empty());
    }

    #[test]
    fn a_boot_that_never_ends() {
        let made = || {
            tree().file(
                "/usr/lib/tmpfiles.d/systemd-nologin.conf",
                "F! /run/nologin\n",
            )
        };
        let unit = "/usr/lib/systemd/system/systemd-user-sessions.service";
        let whole = made().file(unit, "[Unit]\n");
        assert!(diagnose_for(&whole, &offers(), "nologin-file").is_empty());
        mends(&made(), &offers(), &Wishes::default(), "nologin-file");
        let masked = whole.link(
            "/etc/systemd/system/systemd-user-sessions.service",
            "/dev/null",
        );
        mends(&masked, &offers(), &Wishes::default(), "nologin-file");
    }
}
