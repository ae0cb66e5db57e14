//! Podman, as root.

use anyhow::Result;

use super::daemons;
use crate::boot::{BOOKWORM_OPENRC, BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};

daemons::all_trees!("podman");

#[test]
fn kept_systemd() -> Result<()> {
    daemons::with("podman", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSTEMD, "podman")
    })
}

#[test]
fn kept_sysvinit() -> Result<()> {
    daemons::with("podman", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSVINIT, "podman")
    })
}

#[test]
fn orphaned() -> Result<()> {
    daemons::with("podman", |sandbox, _| {
        super::orphaned_in(sandbox, &BOOKWORM_RUNIT, "podman")
    })
}

#[test]
fn podman_stop_ends_systemd() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_SYSTEMD, "podman")
}

#[test]
fn podman_stop_ends_sysvinit() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_SYSVINIT, "podman")
}

#[test]
fn podman_stop_ends_openrc() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_OPENRC, "podman")
}

#[test]
fn a_service_elsewhere_is_refused() -> Result<()> {
    daemons::unreachable(
        "podman",
        "CONTAINER_HOST",
        "ssh://root@127.0.0.1:9/run/podman.sock",
        "its service is on another host",
    )
}
