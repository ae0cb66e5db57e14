//! LXD.

// One for each way in which they differ; `cargo xtask table` goes through all.
super::instances::instances!("lxd", repot_e2e::lxd::start:
    bullseye_systemd = BULLSEYE_SYSTEMD,
    sid_systemd = SID_SYSTEMD,
    bookworm_sysvinit = BOOKWORM_SYSVINIT,
    sid_openrc_init = SID_OPENRC_INIT,
    bookworm_runit = BOOKWORM_RUNIT,
    bookworm_finit = BOOKWORM_FINIT,
    bookworm_s6 = BOOKWORM_S6,
    busybox_alpine = BUSYBOX_ALPINE,
    trixie_guix = TRIXIE_GUIX,
);
