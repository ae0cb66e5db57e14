//! systemd-nspawn, on a host where systemd does not run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};

use crate::boot::{BOOKWORM_RUNIT, BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT};
use crate::faults::full::Disk;
use crate::sandbox::{Sandbox, utf8};
use repot_e2e::trees::Tree;

super::all_trees!(super::cells, "nspawn");

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

#[test]
fn attended_systemd() -> Result<()> {
    super::attended(&BOOKWORM_SYSTEMD, "nspawn")
}

#[test]
fn attended_sysvinit() -> Result<()> {
    super::attended(&BOOKWORM_SYSVINIT, "nspawn")
}

/// Puts a program before the real systemd-nspawn, as hosts may have one.
fn with_nspawn(sandbox: &mut Sandbox, script: &str) -> Result<()> {
    let dir = sandbox.dir().join("bin");
    fs::create_dir(&dir)?;
    let file = dir.join("systemd-nspawn");
    fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").context("reading PATH")?;
    sandbox.set_variable("PATH", &format!("{}:{path}", utf8(&dir)?));
    Ok(())
}

/// An init without CAP_SYS_BOOT cannot say that it is done: it stays, alone. That is the end, and a clean one.
#[test]
fn an_init_that_cannot_end() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let real = "/usr/bin/systemd-nspawn --drop-capability=CAP_SYS_BOOT";
    with_nspawn(
        &mut sandbox,
        &format!(r#"[ "$1" = --version ] && exec {real} "$@"; exec {real} "$@""#),
    )?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?.with_password())?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "--on", "nspawn", "-d", "-n", &name])?;
    let started = std::time::Instant::now();
    let done = sandbox.expect(&["stop", &name], 0)?;
    ensure!(!done.err().contains("killed"), "{done}");
    ensure!(
        started.elapsed().as_secs() < 25,
        "it took {:?}",
        started.elapsed()
    );
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// What an engine says when it does not start is told, and nothing is kept of the machine.
#[test]
fn an_engine_that_fails() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    with_nspawn(
        &mut sandbox,
        r#"[ "$1" = --version ] && exec /usr/bin/systemd-nspawn "$@"; echo "no such luck" >&2; exit 1"#,
    )?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    let done = sandbox.expect(&["boot", &tree, "--on", "nspawn", "-d", "-n", &name], 3)?;
    ensure!(
        done.err().contains("systemd-nspawn ended with status 1")
            && done.err().contains("no such luck"),
        "{done}"
    );
    let row = sandbox.row(&name)?;
    ensure!(row.is_none(), "it is listed: {row:?}");
    sandbox.finish()
}

/// `repot command` prints what `boot --on` does, and does nothing.
#[test]
fn by_hand() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let text = sandbox.ok(&["command", &tree, "--for", "nspawn"])?;
    ensure!(
        text.contains(&format!("systemd-nspawn --quiet --directory={tree}"))
            && text.contains("repot fix"),
        "{text}"
    );
    let document = sandbox.ok(&["command", &tree, "--for", "nspawn", "--json"])?;
    let document: serde_json::Value = serde_json::from_str(&document)?;
    ensure!(
        document["start"]["argv"][0] == "systemd-nspawn",
        "{document}"
    );
    ensure!(sandbox.names()?.is_empty(), "it made a machine");
    sandbox.finish()
}

/// Options of `boot` hold there too; nothing is kept of an ephemeral machine.
#[test]
fn options() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    let shown = sandbox.dir().join("shown");
    fs::create_dir(&shown)?;
    fs::write(shown.join("file"), "of the host")?;
    let bind = format!("{}:/mnt", utf8(&shown)?);
    sandbox.ok(&[
        "boot",
        &tree,
        "--on",
        "nspawn",
        "-d",
        "-x",
        "-n",
        &name,
        "--memory",
        "300M",
        "--bind-ro",
        &bind,
        "--tmpfs",
        "/opt:mode=700",
        "-e",
        "WORD=of-the-user",
    ])?;
    ensure!(sandbox.exec(&name, &["cat", "/mnt/file"])? == "of the host");
    let done = sandbox.repot(&["exec", &name, "touch", "/mnt/other"])?;
    ensure!(done.code != 0, "a read-only bind was written to");
    ensure!(sandbox.exec(&name, &["stat", "-c", "%a", "/opt"])? == "700");
    let env = sandbox.exec(&name, &["cat", "/proc/1/environ"])?;
    ensure!(env.contains("WORD=of-the-user"), "{env:?}");
    let status = sandbox.status(&name)?;
    ensure!(
        status["usage"]["memory_bytes"].as_u64().is_some(),
        "{status}"
    );
    ensure!(
        status["running"]["spec"]["limits"]["memory_bytes"] == 300 << 20,
        "{status}"
    );
    // This init makes its root read-only as it goes down.
    sandbox.ok(&["reboot", &name])?;
    sandbox.exec(&name, &["touch", "/root/written"])?;
    sandbox.ok(&["stop", &name])?;
    ensure!(
        sandbox.row(&name)?.is_none(),
        "an ephemeral machine is kept"
    );
    sandbox.finish()
}

/// On the tree itself, if that was asked for; the removal of what runs removes nothing of it. Its file system is the host's: an init
/// that makes all read-only as it shuts down does not get at it.
#[test]
fn in_place() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let place = sandbox.dir().join("disk");
    let disk = Disk::new(&place, "64m")?;
    let copy = place.join("copy");
    Tree::named("bookworm-busybox")?.copy_to(&copy)?;
    let tree = utf8(&copy)?;
    let name = sandbox.name();
    let args = [
        "boot",
        &tree,
        "--on",
        "nspawn",
        "-d",
        "--in-place",
        "-n",
        &name,
    ];
    sandbox.ok(&args)?;
    sandbox.exec(&name, &["sh", "-c", "echo kept >/root/note"])?;
    sandbox.ok(&["stop", &name])?;
    fs::write(copy.join("root/other"), "").context("writing beside the machine")?;
    sandbox.ok(&args)?;
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["rm", &name])?;
    ensure!(fs::read_to_string(copy.join("root/note"))? == "kept\n");
    ensure!(copy.join("bin/busybox").exists(), "the tree is gone");
    drop(disk);
    sandbox.finish()
}
