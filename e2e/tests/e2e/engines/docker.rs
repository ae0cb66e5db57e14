//! Docker, never `--privileged`.

use std::fs;

use anyhow::{Result, ensure};
use repot_e2e::process;

use super::daemons;
use crate::boot::{BOOKWORM_OPENRC, BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};
use crate::sandbox::{SHORT, utf8};

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
        "docker cannot be used here: its daemon is on another host",
    )
}

/// As `docker context use` has it, which no variable tells.
#[test]
fn a_context_elsewhere_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = std::process::Command::new("docker");
    command.env("DOCKER_CONFIG", dir.path());
    command.args([
        "context",
        "create",
        "far",
        "--docker",
        "host=tcp://127.0.0.1:9",
    ]);
    let done = process::run(&mut command, b"", SHORT)?;
    ensure!(done.code == 0, "{done}");
    fs::write(
        dir.path().join("config.json"),
        r#"{"currentContext": "far"}"#,
    )?;
    daemons::unreachable(
        "docker",
        "DOCKER_CONFIG",
        &utf8(dir.path())?,
        "docker cannot be used here: its daemon is on another host",
    )
}
