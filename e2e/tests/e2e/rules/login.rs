//! Faults of the login: root's shell, PAM, securetty, limits, passwords, autologin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::trees::{PASSWORD, Tree};

use super::patient::{Fault, Patient, change, refused};
use crate::sandbox::{LONG, SHORT, Sandbox};
use crate::session;

fn shell_is_missing(dir: &Path) -> Result<()> {
    change(dir, "etc/passwd", |text| {
        text.replacen("/root:/bin/bash", "/root:/bin/zsh", 1)
    })
}

fn shell_is_nologin(dir: &Path) -> Result<()> {
    change(dir, "etc/passwd", |text| {
        text.replacen("/root:/bin/bash", "/root:/usr/sbin/nologin", 1)
    })
}

fn pam_line(dir: &Path, line: &str) -> Result<()> {
    change(dir, "etc/pam.d/login", |text| format!("{line}\n{text}"))
}

const PAM: &[Fault] = &[
    Fault {
        rule: "root-shell",
        files: &["etc/passwd"],
        spoil: shell_is_missing,
        symptom: "Cannot execute /bin/zsh: No such file or directory",
    },
    Fault {
        rule: "root-shell",
        files: &["etc/passwd"],
        spoil: shell_is_nologin,
        symptom: "This account is currently not available",
    },
    Fault {
        rule: "pam-module",
        files: &["etc/pam.d/login"],
        spoil: |dir| pam_line(dir, "session required pam_gone.so"),
        symptom: "Module is unknown",
    },
    Fault {
        rule: "pam-module",
        files: &["etc/pam.d/login"],
        spoil: |dir| pam_line(dir, "auth required pam_tally2.so deny=3"),
        symptom: "Module is unknown|Login incorrect",
    },
    Fault {
        rule: "pam-include",
        files: &["etc/pam.d/common-auth"],
        spoil: |dir| Ok(fs::remove_file(dir.join("etc/pam.d/common-auth"))?),
        symptom: "PAM Failure, aborting: Critical error - immediate abort|Login incorrect",
    },
    // Debian's pam_limits goes on where a limit cannot be raised, but not here.
    Fault {
        rule: "pam-limits",
        files: &["etc/security/limits.conf"],
        spoil: |dir| {
            change(dir, "etc/security/limits.conf", |text| {
                format!("{text}root soft priority -5\n")
            })
        },
        symptom: "bookworm-sysvinit login: ",
    },
    Fault {
        rule: "securetty",
        files: &["etc/pam.d/login", "etc/securetty"],
        spoil: |dir| {
            change(dir, "etc/securetty", |_| "# serial only\nttyS0\n".into())?;
            pam_line(dir, "auth required pam_securetty.so")
        },
        symptom: "Login incorrect",
    },
    Fault {
        rule: "securetty",
        files: &["etc/pam.d/login", "etc/securetty"],
        spoil: |dir| {
            change(dir, "etc/securetty", |_| "tty1\nconsole\n".into())?;
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(dir.join("etc/securetty"), open)?;
            pam_line(dir, "auth requisite pam_securetty.so")
        },
        symptom: "Login incorrect",
    },
];

/// Each fault keeps root out of a Debian with sysvinit and PAM, and no longer with its rule.
#[test]
fn faults_of_pam_and_of_the_shell() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?.with_password())?;
    patient.suffers(PAM)?;
    patient.finish()
}

/// A niceness of 19 is a limit of 1, where the kernel has 0: any is more.
const LIMITS: &[Fault] = &[
    Fault {
        rule: "pam-limits",
        files: &[],
        spoil: |_| Ok(()),
        symptom: "bookworm-limits login: ",
    },
    Fault {
        rule: "pam-limits",
        files: &["etc/security/limits.conf"],
        spoil: |dir| {
            change(dir, "etc/security/limits.conf", |_| {
                "root - nice 19\n".into()
            })
        },
        symptom: "bookworm-limits login: ",
    },
];

/// Linux-PAM's own pam_limits, and limits that only the host's root may raise: the prompt comes back after the right password.
#[test]
fn a_limit_that_may_not_be_raised() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-limits")?.with_password())?;
    patient.suffers(LIMITS)?;
    patient.finish()
}

/// busybox' login has its own securetty, and no PAM.
#[test]
fn faults_of_a_busybox_login() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-busybox")?.with_password())?;
    patient.suffers(&[
        Fault {
            rule: "securetty",
            files: &["etc/securetty"],
            spoil: |dir| change(dir, "etc/securetty", |_| "ttyS0\r\n".into()),
            symptom: "Login incorrect",
        },
        Fault {
            rule: "root-shell",
            files: &["etc/passwd"],
            spoil: |dir| {
                change(dir, "etc/passwd", |text| {
                    text.replacen(":/bin/sh", ":/bin/zsh", 1)
                })
            },
            symptom: "can't execute '/bin/zsh'",
        },
    ])?;
    patient.finish()
}

/// A locked root is let in with the password that was asked for, and with none where that was asked for.
#[test]
fn a_locked_root_gets_a_password() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-busybox")?)?;
    let (mut console, name) = patient.boot(&[])?;
    refused(&mut console, "login: bad salt").context("locked")?;
    patient.end(console, &name)?;
    let hash = repot_e2e::trees::PASSWORD_HASH;
    let (mut console, name) = patient.boot(&["--root-password-hash", hash])?;
    session::login(&mut console)?;
    patient.end(console, &name)?;
    ensure!(!PASSWORD.is_empty() && patient.findings()?.contains(&"root-password".to_owned()));
    patient.finish()
}

/// Guix System makes its accounts at the boot, root locked in this one: there is no file in which a password could be changed.
#[test]
fn a_root_that_the_boot_makes_gets_a_password() -> Result<()> {
    let patient = Patient::new(Tree::named("trixie-guix")?)?;
    let (mut console, name) = patient.boot(&[])?;
    refused(&mut console, "Login incorrect").context("locked")?;
    patient.end(console, &name)?;
    let hash = repot_e2e::trees::PASSWORD_HASH;
    let (mut console, name) = patient.boot(&["--root-password-hash", hash])?;
    session::login(&mut console)?;
    patient.end(console, &name)?;
    patient.finish()
}

/// What was asked for and cannot be done is no boot that looks as if it had been.
#[test]
fn a_wish_that_cannot_be_fulfilled_is_refused() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let busybox = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let guix = sandbox.base(Tree::named("trixie-guix")?)?;
    let refused = [
        (
            &busybox,
            &["--root-password-hash", "*"][..],
            "is no hash of a password",
        ),
        (&guix, &["--autologin"], "repot does not know how"),
    ];
    for (tree, wish, says) in refused {
        let boot = ["boot", tree.as_str(), "-d", "-n", &sandbox.name()];
        let done = sandbox.expect(&[&boot[..], wish].concat(), 3)?;
        ensure!(done.err().contains(says), "{done}");
    }
    ensure!(sandbox.names()?.is_empty(), "a machine was made");
    sandbox.finish()
}

/// Every kind of getty that the trees have logs root in when asked to, although root is locked.
#[test]
fn autologin_on_every_kind_of_getty() -> Result<()> {
    let shell = Regex::new(r"(?m)\w+@\S+ ?\S+[#$] |[#] ?$")?;
    for tree in [
        "bookworm-busybox",
        "bookworm-sysvinit",
        "bookworm-systemd",
        "bookworm-runit",
        "bookworm-finit",
        "bookworm-s6",
        "sid-openrc-init",
    ] {
        let patient = Patient::new(Tree::named(tree)?)?;
        let (mut console, name) = patient.boot(&["--autologin"])?;
        // Whoever asks for a name has not understood.
        console
            .expect(shell.clone(), LONG)
            .with_context(|| format!("{tree}: waiting for root's shell"))?;
        let user = console
            .run("id -un", SHORT)
            .with_context(|| tree.to_owned())?;
        ensure!(user.contains("root"), "{tree}: {user}");
        patient.end(console, &name)?;
        patient.finish()?;
    }
    Ok(())
}
