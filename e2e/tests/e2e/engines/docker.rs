//! Docker, never `--privileged`.

use anyhow::Result;

use super::daemons;
use crate::boot::{BOOKWORM_OPENRC, BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};

super::all_trees!(super::daemons::daemon_cells, "docker");

#[test]
fn kept_systemd() -> Result<()> {
    daemons::with("docker", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSTEMD, "docker")
    })
}

#[test]
fn kept_sysvinit() -> Result<()> {
    daemons::with("docker", |sandbox, _| {
        super::kept_in(sandbox, &BOOKWORM_SYSVINIT, "docker")
    })
}

#[test]
fn another_ones_container_stays() -> Result<()> {
    daemons::another_ones("docker")
}

#[test]
fn orphaned() -> Result<()> {
    daemons::with("docker", |sandbox, _| {
        super::orphaned_in(sandbox, &BOOKWORM_RUNIT, "docker")
    })
}

#[test]
fn docker_stop_ends_systemd() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_SYSTEMD, "docker")
}

#[test]
fn docker_stop_ends_sysvinit() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_SYSVINIT, "docker")
}

#[test]
fn docker_stop_ends_openrc() -> Result<()> {
    daemons::by_its_own_commands(&BOOKWORM_OPENRC, "docker")
}

#[test]
fn a_daemon_that_does_not_run_is_told() -> Result<()> {
    daemons::unreachable(
        "docker",
        "DOCKER_HOST",
        "unix:///run/no-such-docker.sock",
        "or set DOCKER_HOST",
    )
}

#[test]
fn a_daemon_elsewhere_is_refused() -> Result<()> {
    daemons::unreachable(
        "docker",
        "DOCKER_HOST",
        "tcp://127.0.0.1:9",
        "docker cannot be used here",
    )
}
