//! Every tree with an init: boots, logs in, reboots, powers off, with and without root's password. One boot covers many
//! checks; [`crate::life`] has them.

use anyhow::Result;

use crate::life::{Asks, Case, attended, locked};

const SYSTEMD: Case = Case {
    tree: "",
    comm: "systemd",
    tty: "/dev/console",
    console: Asks::Login,
    utmp: true,
    systemd: true,
    poweroff: "poweroff",
};

const SYSVINIT: Case = Case {
    comm: "init",
    tty: "/dev/tty1",
    systemd: false,
    ..SYSTEMD
};

const BUSYBOX: Case = Case {
    utmp: false,
    ..SYSVINIT
};

/// Its `login` writes to a utmp file where Debian's `who` does not look, and Shepherd has no `poweroff`.
const GUIX: Case = Case {
    poweroff: "halt",
    comm: ".guile-real",
    utmp: false,
    ..SYSVINIT
};

pub const BOOKWORM_SYSTEMD: Case = Case {
    tree: "bookworm-systemd",
    ..SYSTEMD
};

#[test]
fn bookworm_systemd_attended() -> Result<()> {
    attended(&BOOKWORM_SYSTEMD)
}

#[test]
fn bookworm_systemd_locked() -> Result<()> {
    locked(&BOOKWORM_SYSTEMD)
}

pub const BULLSEYE_SYSTEMD: Case = Case {
    tree: "bullseye-systemd",
    ..SYSTEMD
};

#[test]
fn bullseye_systemd_attended() -> Result<()> {
    attended(&BULLSEYE_SYSTEMD)
}

#[test]
fn bullseye_systemd_locked() -> Result<()> {
    locked(&BULLSEYE_SYSTEMD)
}

pub const TRIXIE_SYSTEMD: Case = Case {
    tree: "trixie-systemd",
    ..SYSTEMD
};

#[test]
fn trixie_systemd_attended() -> Result<()> {
    attended(&TRIXIE_SYSTEMD)
}

#[test]
fn trixie_systemd_locked() -> Result<()> {
    locked(&TRIXIE_SYSTEMD)
}

pub const SID_SYSTEMD: Case = Case {
    tree: "sid-systemd",
    ..SYSTEMD
};

#[test]
fn sid_systemd_attended() -> Result<()> {
    attended(&SID_SYSTEMD)
}

#[test]
fn sid_systemd_locked() -> Result<()> {
    locked(&SID_SYSTEMD)
}

pub const BOOKWORM_SYSVINIT: Case = Case {
    tree: "bookworm-sysvinit",
    ..SYSVINIT
};

#[test]
fn bookworm_sysvinit_attended() -> Result<()> {
    attended(&BOOKWORM_SYSVINIT)
}

#[test]
fn bookworm_sysvinit_locked() -> Result<()> {
    locked(&BOOKWORM_SYSVINIT)
}

pub const BOOKWORM_SERIAL: Case = Case {
    tree: "bookworm-serial",
    tty: "/dev/ttyS0",
    ..SYSVINIT
};

#[test]
fn bookworm_serial_attended() -> Result<()> {
    attended(&BOOKWORM_SERIAL)
}

#[test]
fn bookworm_serial_locked() -> Result<()> {
    locked(&BOOKWORM_SERIAL)
}

pub const BOOKWORM_BOTHGETTY: Case = Case {
    tree: "bookworm-bothgetty",
    tty: "/dev/console",
    ..SYSVINIT
};

#[test]
fn bookworm_bothgetty_attended() -> Result<()> {
    attended(&BOOKWORM_BOTHGETTY)
}

#[test]
fn bookworm_bothgetty_locked() -> Result<()> {
    locked(&BOOKWORM_BOTHGETTY)
}

pub const BOOKWORM_NOLOGIN: Case = Case {
    tree: "bookworm-nologin",
    tty: "/dev/console",
    console: Asks::Nothing,
    utmp: false,
    ..SYSVINIT
};

#[test]
fn bookworm_nologin_attended() -> Result<()> {
    attended(&BOOKWORM_NOLOGIN)
}

#[test]
fn bookworm_nologin_locked() -> Result<()> {
    locked(&BOOKWORM_NOLOGIN)
}

pub const BOOKWORM_OPENRC: Case = Case {
    tree: "bookworm-openrc",
    ..SYSVINIT
};

#[test]
fn bookworm_openrc_attended() -> Result<()> {
    attended(&BOOKWORM_OPENRC)
}

#[test]
fn bookworm_openrc_locked() -> Result<()> {
    locked(&BOOKWORM_OPENRC)
}

/// No getty of its own, so the console is served by repot. Debian's login writes no utmp there any more.
pub const SID_OPENRC_INIT: Case = Case {
    tree: "sid-openrc-init",
    tty: "/dev/console",
    utmp: false,
    ..SYSVINIT
};

#[test]
fn sid_openrc_init_attended() -> Result<()> {
    attended(&SID_OPENRC_INIT)
}

#[test]
fn sid_openrc_init_locked() -> Result<()> {
    locked(&SID_OPENRC_INIT)
}

pub const BOOKWORM_RUNIT: Case = Case {
    tree: "bookworm-runit",
    comm: "runit",
    ..SYSVINIT
};

#[test]
fn bookworm_runit_attended() -> Result<()> {
    attended(&BOOKWORM_RUNIT)
}

#[test]
fn bookworm_runit_locked() -> Result<()> {
    locked(&BOOKWORM_RUNIT)
}

pub const BOOKWORM_FINIT: Case = Case {
    tree: "bookworm-finit",
    ..SYSVINIT
};

#[test]
fn bookworm_finit_attended() -> Result<()> {
    attended(&BOOKWORM_FINIT)
}

#[test]
fn bookworm_finit_locked() -> Result<()> {
    locked(&BOOKWORM_FINIT)
}

pub const BOOKWORM_S6: Case = Case {
    tree: "bookworm-s6",
    comm: "s6-svscan",
    ..SYSVINIT
};

#[test]
fn bookworm_s6_attended() -> Result<()> {
    attended(&BOOKWORM_S6)
}

#[test]
fn bookworm_s6_locked() -> Result<()> {
    locked(&BOOKWORM_S6)
}

pub const BOOKWORM_BUSYBOX: Case = Case {
    tree: "bookworm-busybox",
    ..BUSYBOX
};

#[test]
fn bookworm_busybox_attended() -> Result<()> {
    attended(&BOOKWORM_BUSYBOX)
}

#[test]
fn bookworm_busybox_locked() -> Result<()> {
    locked(&BOOKWORM_BUSYBOX)
}

pub const BUSYBOX_NOINITTAB: Case = Case {
    tree: "busybox-noinittab",
    tty: "/dev/console",
    ..BUSYBOX
};

#[test]
fn busybox_noinittab_attended() -> Result<()> {
    attended(&BUSYBOX_NOINITTAB)
}

#[test]
fn busybox_noinittab_locked() -> Result<()> {
    locked(&BUSYBOX_NOINITTAB)
}

pub const BUSYBOX_ALPINE: Case = Case {
    tree: "busybox-alpine",
    ..BUSYBOX
};

#[test]
fn busybox_alpine_attended() -> Result<()> {
    attended(&BUSYBOX_ALPINE)
}

#[test]
fn busybox_alpine_locked() -> Result<()> {
    locked(&BUSYBOX_ALPINE)
}

pub const TRIXIE_GUIX: Case = Case {
    tree: "trixie-guix",
    ..GUIX
};

#[test]
fn trixie_guix_attended() -> Result<()> {
    attended(&TRIXIE_GUIX)
}

#[test]
fn trixie_guix_locked() -> Result<()> {
    locked(&TRIXIE_GUIX)
}

/// Its own terminals do not start, so the console is served by repot.
pub const GUIX_HARDWARE: Case = Case {
    tree: "guix-hardware",
    tty: "/dev/console",
    ..GUIX
};

#[test]
fn guix_hardware_attended() -> Result<()> {
    attended(&GUIX_HARDWARE)
}

#[test]
fn guix_hardware_locked() -> Result<()> {
    locked(&GUIX_HARDWARE)
}
