//! Faults that let root in, and that a command shows.

use std::fs;
use std::os::unix::fs::chown;

use anyhow::Result;
use repot_e2e::trees::Tree;

use super::patient::{Blemish, Patient, change};

#[test]
fn in_a_debian() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?.with_password())?;
    patient.is_blemished(
        &[],
        &[
            Blemish {
                rule: "host-names",
                spoil: |dir| change(dir, "etc/hosts", |_| String::new()),
                command: "getent hosts localhost || echo 'nobody knows it'",
                symptom: "nobody knows it\n?$",
            },
            Blemish {
                rule: "locale",
                spoil: |dir| change(dir, "etc/default/locale", |_| "LC_ALL=de_DE.UTF-8\n".into()),
                command: "bash -c true",
                symptom: r"setlocale: LC_ALL: cannot change locale \(de_DE.UTF-8\)",
            },
            // An ID that does not exist in the machine, where its root is nobody therefore.
            Blemish {
                rule: "owners",
                spoil: |dir| Ok(chown(dir.join("var"), Some(100_000), Some(100_000))?),
                command: "touch /var/mine",
                symptom: "Permission denied|Value too large",
            },
        ],
    )?;
    patient.finish()
}

#[test]
fn in_a_busybox() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-busybox")?.with_password())?;
    patient.is_blemished(
        &["--on", "lxc"],
        &[
            Blemish {
                rule: "mtab",
                spoil: |dir| change(dir, "etc/mtab", |_| "/dev/sda1 / ext4 rw 0 0\n".into()),
                command: "cat /etc/mtab",
                symptom: "/dev/sda1",
            },
            // Not natively, where /tmp is mounted.
            Blemish {
                rule: "mount-points",
                spoil: |dir| {
                    change(dir, "etc/inittab", |text| {
                        format!("{text}console::respawn:/sbin/getty 38400 console\n")
                    })?;
                    Ok(fs::remove_dir_all(dir.join("tmp"))?)
                },
                command: "mktemp",
                symptom: "No such file or directory",
            },
        ],
    )?;
    patient.finish()
}

/// What D-Bus kept becomes the ID of every copy.
#[test]
fn in_a_systemd() -> Result<()> {
    const COPIED: &str = "0123456789abcdef0123456789abcdef";
    let patient = Patient::new(Tree::named("bookworm-systemd")?.with_password())?;
    patient.is_blemished(
        &[],
        &[Blemish {
            rule: "machine-id",
            spoil: |dir| {
                fs::create_dir_all(dir.join("var/lib/dbus"))?;
                change(dir, "var/lib/dbus/machine-id", |_| format!("{COPIED}\n"))?;
                change(dir, "etc/machine-id", |_| String::new())
            },
            command: "cat /etc/machine-id",
            symptom: COPIED,
        }],
    )?;
    patient.finish()
}
