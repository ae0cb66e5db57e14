//! What `repot command` prints is typed into a shell, by somebody who has never started repot's supervisor: it boots the tree on that
//! terminal, root logs in, and the lines below it stop the machine and remove all of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::trees::Tree;
use repot_e2e::{incus, lxd, process};

use super::{daemons, instances};
use crate::boot::{BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT, BUSYBOX_ALPINE};
use crate::life::Case;
use crate::sandbox::{LONG, SHORT, Sandbox, binary, utf8};
use crate::session;

const CASES: [&Case; 3] = [&BOOKWORM_SYSTEMD, &BOOKWORM_SYSVINIT, &BUSYBOX_ALPINE];

/// A command in a shell that finds repot.
fn shell(sandbox: &Sandbox, script: &str) -> Result<std::process::Command> {
    let dir = binary()?.parent().context("finding repot's directory")?;
    let script = format!("export PATH={}:\"$PATH\"\n{script}\n", dir.display());
    // From a file: the shell's own command line must not be taken for one of those in it.
    let file = sandbox.dir().join("script");
    fs::write(&file, script)?;
    sandbox.command_by(Path::new("/bin/sh"), &["-e".as_ref(), file.as_os_str()])
}

/// The lines under the first heading with one of these words, which are comments for later.
fn later(text: &str, words: &[&str]) -> Result<String> {
    let mut lines = text.lines().skip_while(|line| {
        !line
            .strip_prefix("# ")
            .is_some_and(|title| words.iter().any(|word| title.starts_with(word)))
    });
    lines
        .next()
        .with_context(|| format!("no {words:?} in {text}"))?;
    let commands: Vec<&str> = lines.map_while(|line| line.strip_prefix("#   ")).collect();
    Ok(commands.join("\n"))
}

fn typed(sandbox: &Sandbox, case: &Case, engine: &str) -> Result<()> {
    let name = sandbox.name();
    let tree = sandbox.copy(Tree::named(case.tree)?.with_password(), &name)?;
    let text = sandbox.ok(&["command", &utf8(&tree)?, "--for", engine, "-n", &name])?;
    let mut console = Console::spawn(&shell(sandbox, &text)?)?;
    if matches!(engine, "lxd" | "incus") {
        session::wake(&mut console)?;
    }
    session::login(&mut console).with_context(|| text.clone())?;
    super::is_root_there(case, &mut console)?;

    let stop = later(&text, &["stop", "shut it down"])?;
    let done = process::run(&mut shell(sandbox, &stop)?, b"", LONG)?;
    ensure!(done.code == 0, "{stop}\n{done}");
    console.wait_exit(LONG).context("waiting for its end")?;
    if text.lines().any(|line| line == "# forget it") {
        let remove = later(&text, &["forget it"])?;
        let done = process::run(&mut shell(sandbox, &remove)?, b"", SHORT)?;
        ensure!(done.code == 0, "{remove}\n{done}");
    }
    ensure!(sandbox.names()?.is_empty(), "it made a machine");
    fs::remove_dir_all(&tree)?;
    Ok(())
}

fn all(sandbox: &Sandbox, engine: &str) -> Result<()> {
    for case in CASES {
        typed(sandbox, case, engine).with_context(|| format!("{} for {engine}", case.tree))?;
    }
    Ok(())
}

#[test]
fn for_nspawn() -> Result<()> {
    let sandbox = Sandbox::new()?;
    all(&sandbox, "nspawn")?;
    sandbox.finish()
}

#[test]
fn for_lxc() -> Result<()> {
    let sandbox = Sandbox::new()?;
    all(&sandbox, "lxc")?;
    sandbox.finish()
}

#[test]
fn for_docker() -> Result<()> {
    daemons::with("docker", |sandbox, _| all(sandbox, "docker"))
}

#[test]
fn for_podman() -> Result<()> {
    daemons::with("podman", |sandbox, _| all(sandbox, "podman"))
}

#[test]
fn for_containerd() -> Result<()> {
    daemons::with("containerd", |sandbox, _| all(sandbox, "containerd"))
}

#[test]
fn for_lxd() -> Result<()> {
    instances::within(lxd::start, |sandbox| all(sandbox, "lxd"))
}

#[test]
fn for_incus() -> Result<()> {
    instances::within(incus::start, |sandbox| all(sandbox, "incus"))
}
