//! Faults of the tree itself: nologin, set-uid bits, and many at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::trees::{PASSWORD, PASSWORD_HASH, Tree};

use super::patient::{Patient, change};
use crate::sandbox::{LONG, SHORT, Sandbox};
use crate::session;

/// What keeps an ordinary account out or powerless, while root notices nothing.
#[test]
fn an_account_that_is_not_root() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?.with_password())?;
    let dir = patient.dir();
    change(dir, "etc/passwd", |text| {
        format!("{text}ann:x:1000:1000::/tmp:/bin/sh\n")
    })?;
    change(dir, "etc/shadow", |text| {
        format!("{text}ann:{PASSWORD_HASH}:19000:0:99999:7:::\n")
    })?;
    fs::write(dir.join("etc/nologin"), "Gone for lunch.\n")?;
    for program in ["usr/bin/su", "usr/bin/passwd", "usr/bin/mount"] {
        fs::set_permissions(dir.join(program), fs::Permissions::from_mode(0o755))?;
    }
    let (mut console, name) = patient.boot(&["--no-fix"])?;
    console.expect(Regex::new(r"\S+ login: ?")?, LONG)?;
    console.send_line("\x15ann")?;
    console
        .expect("Gone for lunch.", LONG)
        .context("without the rules")?;
    patient.end(console, &name)?;

    let (mut console, name) = patient.boot(&[])?;
    console
        .login("ann", PASSWORD, LONG)
        .context("with the rules")?;
    console.send_line("su -c 'echo I am $(id -un)'")?;
    console.expect(Regex::new("[Pp]assword: ?")?, SHORT)?;
    console.send_line(PASSWORD)?;
    console.expect("I am root", SHORT)?;
    patient.end(console, &name)?;
    patient.finish()
}

/// Ten faults at once, none of them hides another.
#[test]
fn ten_faults_at_once() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?)?;
    let dir = patient.dir();
    change(dir, "etc/passwd", |text| {
        text.replacen("/root:/bin/bash", "/root:/bin/zsh", 1)
    })?;
    change(dir, "etc/pam.d/login", |text| {
        format!(
            "auth required pam_securetty.so\nsession required pam_gone.so\nsession required pam_keyinit.so force\n{text}"
        )
    })?;
    change(dir, "etc/securetty", |_| "ttyS0\r\n".into())?;
    fs::remove_file(dir.join("etc/pam.d/common-session"))?;
    fs::create_dir_all(dir.join("etc/selinux"))?;
    change(dir, "etc/selinux/config", |_| "SELINUX=enforcing\n".into())?;
    change(dir, "etc/mtab", |_| "/dev/sda1 / ext4 rw 0 0\n".into())?;
    fs::write(dir.join("etc/nologin"), "")?;
    fs::set_permissions(dir.join("usr/bin/su"), fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(
        dir.join("usr/bin/passwd"),
        fs::Permissions::from_mode(0o755),
    )?;
    fs::remove_dir(dir.join("tmp")).or_else(|_| fs::remove_dir_all(dir.join("tmp")))?;
    let found = patient.findings()?;
    for rule in [
        "root-shell",
        "root-password",
        "securetty",
        "pam-module",
        "pam-include",
        "pam-session",
        "selinux",
        "mtab",
        "nologin-file",
        "set-uid",
        "mount-points",
    ] {
        ensure!(
            found.iter().any(|known| known == rule),
            "{rule} not in {found:?}"
        );
    }
    let (mut console, name) = patient.boot(&["--root-password-hash", PASSWORD_HASH])?;
    session::login(&mut console)?;
    let seen = console.run(
        "stat -c '%a' /tmp /usr/bin/su; readlink /etc/mtab; cat /etc/selinux/config",
        SHORT,
    )?;
    for part in ["1777", "4755", "/mounts", "SELINUX=disabled"] {
        ensure!(seen.contains(part), "{part} not in {seen:?}");
    }
    patient.end(console, &name)?;
    patient.finish()
}

/// Rules that have something to say about trees that boot and let root in.
const TRUE_OF_THEM: &[(&str, &str)] = &[
    ("bookworm-bothgetty", "shared-terminal"),
    ("sid-openrc-init", "console-silent"),
];

/// On trees that boot, the rules of the tree and of the login are silent.
#[test]
fn healthy_trees_are_called_healthy() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let quiet = [
        "os-release",
        "owners",
        "foreign-mounts",
        "top-links",
        "usr",
        "mount-points",
        "no-init",
        "architecture",
        "init-place",
        "machine-id",
        "mtab",
        "selinux",
        "set-uid",
        "login-program",
        "pam-include",
        "pam-module",
        "pam-loginuid",
        "pam-limits",
        "pam-session",
        "nologin-file",
        "root-missing",
        "root-shell",
        "root-password",
        "hash-kind",
        "pam-nullok",
        "securetty",
        "autologin",
    ];
    for recipe in repot_e2e::trees::recipes() {
        // Those for another processor lack an emulator here.
        if ["noinit", "nologin", "arm64"]
            .iter()
            .any(|part| recipe.name.contains(part))
        {
            continue;
        }
        let tree = crate::sandbox::utf8(&Tree::named(recipe.name)?.with_password().ensure()?)?;
        let done = sandbox.repot(&["doctor", &tree, "--json"])?;
        let document: serde_json::Value = serde_json::from_str(&done.out())?;
        let findings = document["engines"][0]["findings"]
            .as_array()
            .context("reading findings")?;
        for finding in findings {
            let rule = finding["rule"].as_str().unwrap_or_default();
            let known = TRUE_OF_THEM.contains(&(recipe.name, rule));
            ensure!(
                known || !quiet.contains(&rule),
                "{}: {finding:#}",
                recipe.name
            );
        }
    }
    sandbox.finish()
}
