//! Every tree with an init: boots, logs in, reboots, powers off, with and without root's password. One boot covers many
//! checks; [`crate::life`] has them.

use anyhow::Result;

use crate::life::{Asks, Case, attended, locked};

const SYSTEMD: Case = Case {
    tree: "bookworm-systemd",
    comm: "systemd",
    tty: "/dev/console",
    console: Asks::Login,
    utmp: true,
    systemd: true,
};

const BOOKWORM_SYSTEMD: Case = SYSTEMD;

#[test]
fn bookworm_systemd_attended() -> Result<()> {
    attended(&BOOKWORM_SYSTEMD)
}

#[test]
fn bookworm_systemd_locked() -> Result<()> {
    locked(&BOOKWORM_SYSTEMD)
}

const BOOKWORM_SYSVINIT: Case = Case {
    tree: "bookworm-sysvinit",
    comm: "init",
    tty: "/dev/tty1",
    systemd: false,
    ..SYSTEMD
};

#[test]
fn bookworm_sysvinit_attended() -> Result<()> {
    attended(&BOOKWORM_SYSVINIT)
}

#[test]
fn bookworm_sysvinit_locked() -> Result<()> {
    locked(&BOOKWORM_SYSVINIT)
}

const BOOKWORM_BUSYBOX: Case = Case {
    tree: "bookworm-busybox",
    utmp: false,
    ..BOOKWORM_SYSVINIT
};

#[test]
fn bookworm_busybox_attended() -> Result<()> {
    attended(&BOOKWORM_BUSYBOX)
}

#[test]
fn bookworm_busybox_locked() -> Result<()> {
    locked(&BOOKWORM_BUSYBOX)
}
