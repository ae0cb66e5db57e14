//! Trees whose links point out of them. Mount points are looked up in a tree before its own programs run, so a link there is
//! the first thing that a hostile tree has.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use repot_e2e::trees::Tree;

use crate::sandbox::{Sandbox, utf8};

/// With the host's root stacked above the machine's, `/..` led to it; links that the kernel makes up lead anywhere.
#[test]
fn mount_points_lead_nowhere() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let tree = sandbox.dir().join("tree");
    Tree::named("bookworm-busybox")?.copy_to(&tree)?;
    let canary = sandbox.dir().join("canary");
    fs::create_dir(&canary)?;
    fs::write(canary.join("secret"), "of the host")?;
    let canary = utf8(&canary)?;
    for point in ["sys", "dev", "run", "proc", "tmp"] {
        for to in [
            "/..",
            "../..",
            "/etc/../../..",
            "/proc/self/fd/5",
            "/proc/1/root/..",
            "/proc/self/cwd",
        ] {
            let place = tree.join(point);
            match fs::symlink_metadata(&place) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&place)?,
                Ok(_) => fs::remove_file(&place)?,
                Err(_) => {}
            }
            symlink(to, &place)?;
            let script = format!(
                "for d in '' /sys /dev /run /proc /tmp /.. /../..; do cat $d{canary}/secret; echo x >$d{canary}/planted; done 2>/dev/null; true"
            );
            // It may start or be refused; either way nothing of the host is in it.
            let done = sandbox.repot(&["run", &utf8(&tree)?, "/bin/sh", "-c", &script])?;
            ensure!(
                !done.out().contains("of the host"),
                "/{point} -> {to}: {done}"
            );
            ensure!(
                !sandbox.dir().join("canary/planted").exists(),
                "/{point} -> {to}: {done}"
            );
            fs::remove_file(&place)?;
            fs::create_dir(&place)?;
        }
    }
    sandbox.finish()
}

/// A machine that is started for once with its writes in memory keeps what it wrote before.
#[test]
fn an_ephemeral_start_forgets_nothing() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    sandbox.ok(&["run", "--name", &name, &tree, "touch", "/kept"])?;
    sandbox.ok(&["run", "--ephemeral", &name, "touch", "/forgotten"])?;
    sandbox.ok(&["boot", "--ephemeral", "--detach", &name])?;
    sandbox.ok(&["stop", &name])?;
    sandbox.expect(&["run", &name, "test", "-e", "/kept"], 0)?;
    sandbox.expect(&["run", &name, "test", "-e", "/forgotten"], 1)?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
