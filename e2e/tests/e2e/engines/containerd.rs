//! containerd, by `ctr`.

use anyhow::Result;

use super::daemons;
use crate::boot::{BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};

daemons::one_of_each!("containerd");

#[test]
fn kept_systemd() -> Result<()> {
    daemons::with("containerd", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSTEMD, "containerd")
    })
}

#[test]
fn kept_sysvinit() -> Result<()> {
    daemons::with("containerd", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSVINIT, "containerd")
    })
}

#[test]
fn another_ones_container_stays() -> Result<()> {
    daemons::another_ones("containerd")
}

#[test]
fn orphaned() -> Result<()> {
    daemons::with("containerd", |sandbox, _| {
        super::orphaned_in(sandbox, &BOOKWORM_RUNIT, "containerd")
    })
}

#[test]
fn a_daemon_that_does_not_run_is_told() -> Result<()> {
    daemons::unreachable(
        "containerd",
        "CONTAINERD_ADDRESS",
        "/run/no-such-containerd.sock",
        "or set CONTAINERD_ADDRESS",
    )
}
