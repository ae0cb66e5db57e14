//! Podman, as root and without.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::{Context, Result, ensure};
use repot_e2e::user::User;

use super::daemons;
use crate::boot::{
    BOOKWORM_OPENRC, BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT, BUSYBOX_ALPINE,
};
use crate::life::Case;
use crate::rootless::tarball;
use crate::sandbox::{LONG, Sandbox, utf8};
use crate::session;

daemons::one_of_each!("podman");

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
fn another_ones_container_stays() -> Result<()> {
    daemons::another_ones("podman")
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

/// A user's own sandbox, with a home and a run-time directory for Podman, and a tree imported.
fn of_user(case: &Case) -> Result<(Sandbox, String)> {
    let user = User::with_subordinate_ids()?;
    let mut sandbox = Sandbox::of_user(&user)?;
    for (variable, name) in [("HOME", "home"), ("XDG_RUNTIME_DIR", "xdg")] {
        let dir = sandbox.dir().join(name);
        fs::create_dir(&dir).context("making a directory")?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        chown(&dir, Some(user.uid), Some(user.gid)).context("giving a directory away")?;
        sandbox.put_env(&[(variable, utf8(&dir)?)]);
    }
    let image = sandbox.ok(&["import", &tarball(case)?])?;
    Ok((sandbox, image.trim().to_owned()))
}

#[test]
fn rootless_sysvinit() -> Result<()> {
    let (sandbox, image) = of_user(&BOOKWORM_SYSVINIT)?;
    super::cell_of(&sandbox, &BOOKWORM_SYSVINIT, "podman", &image)?;
    sandbox.finish()
}

#[test]
fn rootless_openrc() -> Result<()> {
    let (sandbox, image) = of_user(&BOOKWORM_OPENRC)?;
    super::cell_of(&sandbox, &BOOKWORM_OPENRC, "podman", &image)?;
    sandbox.finish()
}

/// Its getty wants the console as its controlling terminal, and Ctrl-C would restart the machine if that were PID 1's.
#[test]
fn rootless_busybox() -> Result<()> {
    let (sandbox, image) = of_user(&BUSYBOX_ALPINE)?;
    super::cell_of(&sandbox, &BUSYBOX_ALPINE, "podman", &image)?;
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &image, "--on", "podman", "-n", &name])?;
    session::login(&mut console)?;
    console.send_line("sh -c 'echo begun $((1 + 1)); exec sleep 1000'")?;
    console.expect("begun 2", LONG)?;
    console.send_line("\x03echo still $((40 + 2))")?;
    console.expect("still 42", LONG)?;
    sandbox.ok(&["reboot", &name])?;
    session::login(&mut console).context("login after a restart")?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// On a host with v1 controllers a user has no cgroup for a systemd, which is told before anything is made.
#[test]
fn rootless_systemd_has_no_cgroup() -> Result<()> {
    let (sandbox, image) = of_user(&BOOKWORM_SYSTEMD)?;
    let name = sandbox.name();
    let refused = sandbox.expect(&["boot", &image, "--on", "podman", "-n", &name], 3)?;
    ensure!(
        refused.err().contains("none of the cgroup layouts"),
        "{refused}"
    );
    let doctor = sandbox.repot(&["doctor", &image, "--for", "podman"])?;
    ensure!(
        doctor
            .out()
            .contains("[will not boot, certain, cgroup-version]"),
        "{doctor}"
    );
    ensure!(sandbox.row(&name)?.is_none(), "a machine was made");
    sandbox.finish()
}
