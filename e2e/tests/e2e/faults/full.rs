//! Disks that fill up while a machine runs or an image is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, SHORT, Sandbox, utf8};

/// A small file system of its own in memory, unmounted at the end.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn new(at: &Path, size: &str) -> Result<Disk> {
        fs::create_dir_all(at)?;
        let disk = Disk(at.to_owned());
        disk.mount(&format!("size={size},mode=700"))?;
        Ok(disk)
    }

    fn grow(&self, size: &str) -> Result<()> {
        self.mount(&format!("remount,size={size}"))
    }

    fn mount(&self, options: &str) -> Result<()> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.0);
        let done = process::run(&mut mount, b"", SHORT)?;
        ensure!(done.code == 0, "mount: {done}");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let _ = process::run(umount.arg("--lazy").arg(&self.0), b"", SHORT);
    }
}

/// A machine that has filled the disk that it is on goes on, can be looked at, restarted and stopped; others are refused with the
/// reason; with room again, everything works.
#[test]
fn a_machine_fills_its_disk() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let disk = Disk::new(&sandbox.data(), "8m")?;
    let (name, other) = (sandbox.name(), sandbox.name());
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    // To the last byte, and then more than the log of the console takes.
    let fill = "dd if=/dev/zero of=/fill bs=64k; cat /dev/zero >/rest; \
        i=0; while [ $i -lt 3000 ]; do echo line $i of the console; i=$((i + 1)); done >/dev/console";
    let done = sandbox.repot(&["exec", &name, "sh", "-c", fill])?;
    ensure!(done.err().contains("No space left"), "{done}");
    for args in [
        &["status", &name][..],
        &["logs", &name],
        &["list"],
        &["exec", &name, "true"],
    ] {
        sandbox.ok(args)?;
    }
    for args in [
        &["boot", &tree, "-d", "-n", &other][..],
        &["run", &tree, "-n", &other, "/bin/true"],
    ] {
        let done = sandbox.repot(args)?;
        ensure!(
            matches!(done.code, 3 | 125) && done.err().contains("No space left"),
            "{args:?}: {done}"
        );
        ensure!(
            sandbox.row(&other)?.is_none(),
            "{args:?} has left a machine"
        );
    }
    sandbox.ok(&["reboot", &name])?;
    process::until("it is up again", SHORT, || {
        Ok(sandbox.state(&name)? == "running")
    })?;
    sandbox.ok(&["stop", &name])?;
    disk.grow("32m")?;
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(sandbox.exec(&name, &["stat", "-c", "%s", "/fill"])? != "0");
    sandbox.ok(&["boot", &tree, "-d", "-n", &other])?;
    sandbox.ok(&["rm", "--force", &name, &other])?;
    drop(disk);
    sandbox.finish()
}

/// `/run` is full when a running machine restarts: what it writes there (its state) is the supervisor's, which keeps the machine.
#[test]
fn run_fills_up_under_a_machine() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let disk = Disk::new(&sandbox.running(), "1m")?;
    let (name, other) = (sandbox.name(), sandbox.name());
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    let fill = sandbox.running().join(".fill");
    let _ = fs::write(&fill, vec![0; 2 << 20]);
    let done = sandbox.expect(&["boot", &tree, "-d", "-n", &other], 3)?;
    ensure!(done.err().contains("No space left"), "{done}");
    sandbox.ok(&["status", &name])?;
    sandbox.ok(&["exec", &name, "true"])?;
    sandbox.ok(&["reboot", &name])?;
    sandbox.ok(&["exec", &name, "true"])?;
    sandbox.ok(&["stop", &name])?;
    fs::remove_file(&fill)?;
    sandbox.ok(&["boot", &name, "-d"])?;
    sandbox.ok(&["rm", "--force", &name])?;
    drop(disk);
    sandbox.finish()
}

/// An import that runs out of space says so, and its half of an image is gone; the next one succeeds.
#[test]
fn an_import_fills_the_disk() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let disk = Disk::new(&sandbox.data(), "2m")?;
    let archive = sandbox.dir().join("tree.tar");
    let mut tar = Command::new("tar");
    tar.args(["-C", &tree, "--one-file-system", "-cf"])
        .arg(&archive)
        .arg(".");
    let done = process::run(&mut tar, b"", LONG)?;
    ensure!(done.code == 0, "{done}");
    let archive = utf8(&archive)?;
    let done = sandbox.expect(&["import", &archive], 3)?;
    ensure!(done.err().contains("no space left"), "{done}");
    let images = fs::read_dir(sandbox.data().join("images"))?.flatten();
    let left: Vec<_> = images
        .map(|entry| entry.file_name())
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .collect();
    ensure!(left.is_empty(), "{left:?}");
    disk.grow("1g")?;
    sandbox.ok(&["import", &archive])?;
    drop(disk);
    sandbox.finish()
}
