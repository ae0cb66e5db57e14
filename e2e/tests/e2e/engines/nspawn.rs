//! systemd-nspawn, on a host where systemd does not run.

use anyhow::Result;

use crate::boot::{BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};

super::cells!("nspawn":
    bookworm_systemd = BOOKWORM_SYSTEMD,
    bullseye_systemd = BULLSEYE_SYSTEMD,
    trixie_systemd = TRIXIE_SYSTEMD,
    sid_systemd = SID_SYSTEMD,
    bookworm_sysvinit = BOOKWORM_SYSVINIT,
    bookworm_serial = BOOKWORM_SERIAL,
    bookworm_bothgetty = BOOKWORM_BOTHGETTY,
    bookworm_nologin = BOOKWORM_NOLOGIN,
    bookworm_openrc = BOOKWORM_OPENRC,
    sid_openrc_init = SID_OPENRC_INIT,
    bookworm_runit = BOOKWORM_RUNIT,
    bookworm_finit = BOOKWORM_FINIT,
    bookworm_s6 = BOOKWORM_S6,
    bookworm_busybox = BOOKWORM_BUSYBOX,
    busybox_noinittab = BUSYBOX_NOINITTAB,
    busybox_alpine = BUSYBOX_ALPINE,
    trixie_guix = TRIXIE_GUIX,
    guix_hardware = GUIX_HARDWARE,
);

#[test]
fn kept_systemd() -> Result<()> {
    super::kept(&BOOKWORM_SYSTEMD, "nspawn")
}

#[test]
fn kept_sysvinit() -> Result<()> {
    super::kept(&BOOKWORM_SYSVINIT, "nspawn")
}

#[test]
fn orphaned() -> Result<()> {
    super::orphaned(&BOOKWORM_RUNIT, "nspawn")
}
