//! There is no init, or what should be one cannot be executed.

use super::{Case, Rule, RuleMeta, absent};
use crate::reading::{PROGRAM_DIRS, base_name};
use crate::{Result, View, candidate, edit};
use repot_model::{
    Certainty, Change, Distribution, Edit, Evidence, Finding, ProgramOffer, Remedy, Severity,
};
use repot_rootfs::FileKind;

#[derive(Debug)]
pub(crate) struct NoInit;

static META: RuleMeta = RuleMeta {
    id: "no-init",
    severity: Severity::NoBoot,
    summary: "there is no init, or what should be one cannot be executed",
    explain: "**Symptom**: `Failed to exec \"/sbin/init\"`, `execv(/usr/lib/systemd/systemd, /lib/systemd/systemd, /sbin/init) failed: No \
such file or directory`, `exec format error`.\n\n**Cause**: an image made for applications has no init at all; in others `/sbin/init` is a \
link whose end was left out, lost its execute bit on a file system that keeps none, is a script whose shell is not there, or a program \
whose loader (`ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`) is not there.\n\n**What repot does**: it sets the execute bit, turns a broken \
link to where the program is, links the shell of a script or the loader if the tree has it elsewhere. If another init of the tree works, \
`boot` starts that. An init that is not there has to be installed.\n\n**By hand**: with the distribution's package manager, from outside: \
`repot run TREE -- apt-get install systemd-sysv`.",
    sources: &[
        "Linux init/main.c, kernel_init(); fs/exec.c, binfmt_script.c, binfmt_elf.c",
        "execve(2), ENOENT, EACCES, ENOEXEC",
        "systemd src/nspawn/nspawn.c; lxc src/lxc/start.c",
    ],
};

impl Rule for NoInit {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let facts = case.facts;
        if !case.offers.is_pid1 {
            return Ok(Vec::new());
        }
        if facts.init.is_none() && facts.rejected_inits.is_empty() {
            return Ok(vec![none(&facts.distribution)]);
        }
        let mut findings = Vec::new();
        for rejected in &facts.rejected_inits {
            if candidate::now_runs(case.tree, &rejected.path)? {
                // A rule before this one has mended it.
                continue;
            }
            findings.push(broken(case, rejected)?);
        }
        Ok(findings)
    }
}

/// Nothing that could be an init.
fn none(distribution: &Distribution) -> Finding {
    let mut finding = META.finding(
        "the tree has no init",
        "Failed to exec \"/sbin/init\": No such file or directory",
    );
    finding.cause = "it was made for a single application, or its init was not installed".into();
    finding.evidence = vec![absent("/sbin/init")];
    finding.hint = Some(format!(
        "`repot run` opens a shell in it; to boot it, install {}, or name a program with --init",
        package(distribution)
    ));
    finding
}

/// One that cannot be executed.
fn broken(case: &Case<'_>, rejected: &Evidence) -> Result<Finding> {
    let path = &rejected.path;
    let reason = &rejected.seen;
    let error = if reason.contains("not executable") {
        "Permission denied"
    } else if ["does not exist", "in a circle"]
        .iter()
        .any(|text| reason.contains(text))
    {
        "No such file or directory"
    } else if reason.ends_with("is a directory") {
        "Permission denied"
    } else {
        "Exec format error"
    };
    let mut finding = META.finding(
        format!("{path} cannot be executed: {reason}"),
        format!("Failed to exec \"{path}\": {error}"),
    );
    finding.cause = cause(reason).into();
    finding.evidence = vec![rejected.clone()];
    if let Some(edit) = mend(case, rejected)? {
        finding.remedy = Remedy::Automatic;
        finding.edits.push(edit);
    } else {
        finding.hint = Some(hint(reason, &case.facts.distribution));
    }
    if let Some(init) = &case.facts.init {
        // Another one was found. It is started instead, where the engine can start it.
        finding.severity = Severity::Degraded;
        if case.offers.program == ProgramOffer::Any && finding.edits.is_empty() {
            finding.remedy = Remedy::Environment;
            finding.hint = None;
            finding.cause = format!("{}; {} is started instead", finding.cause, init.path);
        }
    } else if reason.contains("script") || reason.contains("its interpreter") {
        finding.certainty = Certainty::Likely;
    }
    Ok(finding)
}

fn cause(reason: &str) -> &'static str {
    if reason.contains("needs the loader") {
        "the kernel starts a dynamic program by its loader, which is missing or of another architecture"
    } else if reason.contains("its interpreter") {
        "the kernel starts a script by the program after #!, which is missing or cannot be executed itself"
    } else if reason.contains("is not executable") {
        "the execute bit is lost: a copy over a file system or an archive that keeps none"
    } else if reason.contains("symlink to") {
        "the link's end is not in the tree"
    } else {
        "the file is not what it should be: a copy that was cut off, or something else in its place"
    }
}

/// What the tree has to mend it with.
fn mend(case: &Case<'_>, rejected: &Evidence) -> Result<Option<Edit>> {
    let tree = case.tree;
    let (path, reason) = (rejected.path.as_str(), rejected.seen.as_str());
    let word_after = |mark: &str| {
        let (_, rest) = reason.split_once(mark)?;
        let word = rest.split([' ', ',']).next()?;
        word.starts_with('/').then_some(word)
    };
    if let Some(loader) =
        word_after("needs the loader ").filter(|_| reason.ends_with("does not exist"))
    {
        let name = base_name(loader);
        let found = crate::login::library_dirs(tree)?
            .into_iter()
            .map(|dir| format!("{dir}/{name}"))
            .find(|found| tree.is_file(found));
        return Ok(found.map(|found| {
            let why = "the kernel looks for the loader there";
            edit::link(tree, loader, &edit::relative_link(loader, &found), why)
        }));
    }
    let program = word_after("its interpreter ").unwrap_or(path);
    if reason.contains("is not executable") {
        let mode = tree.metadata(program).map(|found| found.mode | 0o755);
        return Ok(mode.filter(|_| tree.is_file(program)).map(|mode| {
            edit::made(
                tree,
                program,
                Change::Mode { mode },
                "it has to be executed",
            )
        }));
    }
    if !reason.contains("does not exist") && !reason.contains("in a circle") {
        return Ok(None);
    }
    let other = if program == path {
        match case.facts.init.as_ref().filter(|init| init.args.is_empty()) {
            Some(init) => Some(init.path.clone()),
            None => elsewhere(tree, path)?,
        }
    } else {
        shell(tree, program)?
    };
    Ok(other.map(|other| {
        let why = "the program is there";
        edit::link(tree, program, &edit::relative_link(program, &other), why)
    }))
}

/// The program that a broken link means, in one of the usual places.
fn elsewhere(tree: &View<'_>, path: &str) -> Result<Option<String>> {
    let Some(to) = tree.read_link(path) else {
        return Ok(None);
    };
    let name = base_name(&to).to_owned();
    let dirs = [
        "/usr/lib/systemd",
        "/lib/systemd",
        "/lib/runit",
        "/usr/lib/runit",
    ];
    for dir in dirs.iter().chain(PROGRAM_DIRS) {
        let place = format!("{dir}/{name}");
        if place != path && runs(tree, &place)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// A shell to put in the place of a missing `/bin/sh`; no other interpreter has a stand-in.
fn shell(tree: &View<'_>, interpreter: &str) -> Result<Option<String>> {
    if base_name(interpreter) != "sh" {
        return Ok(None);
    }
    for name in ["dash", "bash", "busybox", "ash", "mksh"] {
        for dir in PROGRAM_DIRS {
            let place = format!("{dir}/{name}");
            if runs(tree, &place)? {
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

fn runs(tree: &View<'_>, path: &str) -> Result<bool> {
    Ok(tree.kind(path) == Some(FileKind::File) && candidate::now_runs(tree, path)?)
}

fn hint(reason: &str, distribution: &Distribution) -> String {
    if reason.contains("another architecture") {
        "the loader is of another architecture than the init: two trees were mixed; unpack the root file system again".into()
    } else if reason.contains("needs the loader") {
        "the C library is missing: unpack the root file system again, all of it".into()
    } else if reason.contains("its interpreter") {
        "install the interpreter that the script names".into()
    } else {
        format!(
            "install {}, or name a program with --init",
            package(distribution)
        )
    }
}

/// Where an init comes from, for people.
fn package(distribution: &Distribution) -> &'static str {
    let is =
        |name: &str| distribution.id == name || distribution.like.iter().any(|like| like == name);
    if is("devuan") {
        "sysvinit-core"
    } else if is("debian") || is("ubuntu") {
        "systemd-sysv"
    } else if is("alpine") {
        "the packages alpine-base and openrc"
    } else if is("gentoo") {
        "sys-apps/openrc or sys-apps/systemd"
    } else if is("void") {
        "runit-void"
    } else if ["fedora", "rhel", "centos", "suse", "opensuse", "arch"]
        .iter()
        .any(|name| is(name))
    {
        "systemd"
    } else {
        "an init"
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Remedy, Severity};

    #[test]
    fn what_can_be_mended_is() {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        for tree in [
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .mode("/sbin/init", 0o644),
            Tree::new()
                .link("/sbin/init", "/lib/systemd/systemd")
                .elf("/usr/lib/systemd/systemd", "systemd 252 running in"),
            Tree::new()
                .link("/sbin/init", "init")
                .elf("/usr/lib/systemd/systemd", "systemd 252 running in"),
            Tree::new()
                .script("/sbin/init", "#!/bin/sh\nexec /bin/busybox init\n")
                .elf("/bin/busybox", "BusyBox v1.36.1"),
            Tree::new()
                .dynamic_elf("/sbin/init", loader)
                .elf("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", ""),
            Tree::new()
                .script("/sbin/init", "#!/bin/sh\n")
                .elf("/bin/sh", "")
                .mode("/bin/sh", 0o600),
        ] {
            let found = diagnose_for(&tree, &offers(), "no-init");
            assert_eq!(found[0].remedy, Remedy::Automatic, "{found:?}");
            mends(&tree, &offers(), &Wishes::default(), "no-init");
        }
    }

    #[test]
    fn what_cannot_is_explained() {
        for (tree, part) in [
            (Tree::new(), "install an init"),
            (
                Tree::new().file("/etc/os-release", "ID=ubuntu\nID_LIKE=debian\n"),
                "systemd-sysv",
            ),
            (Tree::new().script("/sbin/init", ""), "install"),
            (Tree::new().dir("/sbin/init"), "install"),
            (
                Tree::new().dynamic_elf("/sbin/init", "/lib/ld-musl-x86_64.so.1"),
                "the C library is missing",
            ),
            (
                Tree::new().script("/sbin/init", "#!/usr/bin/perl\n"),
                "install the interpreter",
            ),
        ] {
            let found = diagnose_for(&tree, &offers(), "no-init");
            assert_eq!((found.len(), found[0].remedy), (1, Remedy::Manual));
            assert_eq!(found[0].severity, Severity::NoBoot);
            assert!(found[0].hint.as_ref().unwrap().contains(part), "{found:?}");
        }
    }

    #[test]
    fn another_init_takes_its_place() {
        let tree = Tree::new()
            .link("/sbin/init", "/nowhere/init")
            .elf("/usr/lib/systemd/systemd", "systemd 252 running in");
        let found = diagnose_for(&tree, &offers(), "no-init");
        assert_eq!(found[0].severity, Severity::Degraded);
        assert_eq!(
            found[0].edits[0].change,
            Change::Link {
                to: "../usr/lib/systemd/systemd".into()
            }
        );
        let empty = Tree::new()
            .script("/sbin/init", "")
            .elf("/usr/lib/systemd/systemd", "systemd 252 running in");
        let found = diagnose_for(&empty, &offers(), "no-init");
        assert_eq!(found[0].remedy, Remedy::Environment);
        let whole = Tree::new().elf("/sbin/init", "SysV init version");
        assert!(diagnose_for(&whole, &offers(), "no-init").is_empty());
    }
}
