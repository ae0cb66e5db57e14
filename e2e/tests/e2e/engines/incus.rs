//! Incus, which repot drives as it does LXD: what differs is Incus' own.

super::instances::instances!("incus", repot_e2e::incus::start:
    sid_systemd = SID_SYSTEMD,
    bookworm_sysvinit = BOOKWORM_SYSVINIT,
    bookworm_runit = BOOKWORM_RUNIT,
    busybox_alpine = BUSYBOX_ALPINE,
);
