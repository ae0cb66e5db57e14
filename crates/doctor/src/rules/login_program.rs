//! There is no login program, or no getty, in a tree that boots.

use super::{Case, Rule, RuleMeta, absent};
use crate::Result;
use repot_model::{Certainty, Distribution, Finding, GettyKind, Severity};

#[derive(Debug)]
pub(crate) struct LoginProgram;

static META: RuleMeta = RuleMeta {
    id: "login-program",
    severity: Severity::NoLogin,
    summary: "login or getty is not installed",
    explain: "**Symptom**: the getty says `can't exec /bin/login: No such file or directory` and starts anew; or nothing ever asks for a name, \
and the log has `getty@tty1.service: Failed at step EXEC spawning /sbin/agetty`.\n\n**Cause**: images that were made small leave out \
`login` and `agetty`, which nothing in a container for one application needs.\n\n**What can be done**: install them. `repot fix --install` \
runs the distribution's own package manager in a machine of the tree, and says what it will run before. `repot shell NAME` and \
`repot exec` need neither.",
    sources: &[
        "agetty(8), login(1)",
        "packages: Debian login, util-linux; Fedora, Arch, SUSE, Void util-linux; Alpine busybox, agetty",
    ],
};

impl Rule for LoginProgram {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        // Whoever gives a shell on the console needs neither.
        if init
            .gettys
            .iter()
            .any(|getty| getty.kind == GettyKind::Shell)
        {
            return Ok(Vec::new());
        }
        let login = &case.facts.login;
        let distribution = &case.facts.distribution;
        let mut findings = Vec::new();
        if login.login.is_none() {
            let mut finding = META.finding(
                "the tree has no login program",
                "can't exec /bin/login: No such file or directory",
            );
            finding.cause = "a getty asks for the name, and login for everything else".into();
            finding.evidence = vec![absent("/bin/login"), absent("/usr/bin/login")];
            finding.hint = Some(hint(package(distribution, Program::Login)));
            findings.push(finding);
        }
        // finit has one of its own, and so has whoever put a getty there that works.
        if login.gettys.is_empty() && init.gettys.is_empty() {
            let mut finding = META.finding(
                "the tree has no getty",
                "Failed at step EXEC spawning /sbin/agetty: No such file or directory",
            );
            finding.certainty = Certainty::Likely;
            finding.cause = "nothing in the tree can open a terminal and ask for a name".into();
            finding.evidence = vec![absent("/sbin/agetty"), absent("/sbin/getty")];
            finding.evidence.extend(init.broken_gettys.iter().cloned());
            finding.hint = Some(hint(package(distribution, Program::Getty)));
            findings.push(finding);
        }
        Ok(findings)
    }
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// login(1).
    Login,
    /// agetty(8) or another.
    Getty,
}

fn hint(package: Option<&str>) -> String {
    match package {
        Some(package) => format!(
            "install the package {package}: `repot fix --install`; `repot shell` works without"
        ),
        None => "install it with the distribution's package manager; `repot shell` works without"
            .to_owned(),
    }
}

/// The package that has it, by the distribution or what it is like.
pub(crate) fn package(distribution: &Distribution, program: Program) -> Option<&'static str> {
    let ids = std::iter::once(&distribution.id).chain(&distribution.like);
    ids.map(String::as_str).find_map(|id| {
        Some(match (id, program) {
            ("debian" | "ubuntu" | "devuan" | "kali", Program::Login) => "login",
            ("debian" | "ubuntu" | "devuan" | "kali", Program::Getty) => "util-linux",
            ("alpine" | "postmarketos", Program::Login) => "busybox",
            ("alpine" | "postmarketos", Program::Getty) => "agetty",
            ("gentoo" | "funtoo", Program::Login | Program::Getty) => "sys-apps/util-linux",
            (
                "fedora" | "rhel" | "centos" | "arch" | "suse" | "opensuse" | "void" | "altlinux"
                | "mageia" | "slackware" | "chimera",
                _,
            ) => "util-linux",
            ("openwrt", _) => "busybox",
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, offers};

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let bare = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/os-release", "ID=mint\nID_LIKE=\"ubuntu debian\"\n");
        let found = diagnose_for(&bare, &offers(), "login-program");
        assert_eq!(found.len(), 2);
        assert!(found[0].hint.as_ref().unwrap().contains("package login:"));
        assert!(
            found[1]
                .hint
                .as_ref()
                .unwrap()
                .contains("package util-linux:")
        );
        let whole = bare.elf("/bin/login", "util-linux").elf("/sbin/agetty", "");
        assert!(diagnose_for(&whole, &offers(), "login-program").is_empty());
        let shell = Tree::new()
            .elf("/sbin/init", "BusyBox v1.36.1\0/etc/inittab")
            .elf("/bin/sh", "BusyBox v1.36.1")
            .file("/etc/inittab", "console::askfirst:/bin/sh\n");
        assert!(diagnose_for(&shell, &offers(), "login-program").is_empty());
        assert!(diagnose_for(&Tree::new(), &offers(), "login-program").is_empty());
    }
}
