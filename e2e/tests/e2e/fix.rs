//! Edits of a tree: laid over it by `boot` and `run`, written into it by `fix`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use repot_e2e::digest::digest;
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::fs::{XattrFlags, setxattr};

use crate::sandbox::{LONG, Sandbox, utf8};

/// A copy of a tree that the test may spoil.
fn copy(sandbox: &Sandbox, tree: Tree, name: &str) -> Result<PathBuf> {
    let to = sandbox.dir().join(name);
    let mut command = std::process::Command::new("cp");
    command.arg("-a").arg(tree.ensure()?).arg(&to);
    let done = process::run(&mut command, b"", LONG)?;
    ensure!(done.code == 0, "{done}");
    Ok(to)
}

/// What a machine sees of a file that is laid over its tree, and of the directory that it is in.
#[test]
fn a_layer_keeps_mode_owner_and_attributes() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let dir = copy(&sandbox, Tree::named("bookworm-busybox")?, "tree")?;
    let tree = utf8(&dir)?;
    let hostname = dir.join("etc/hostname");
    chown(&hostname, Some(3), Some(4))?;
    setxattr(&hostname, "user.note", b"kept", XattrFlags::empty())?;
    fs::set_permissions(&hostname, fs::Permissions::from_mode(0o640))?;
    chown(dir.join("etc"), Some(0), Some(7))?;
    fs::set_permissions(dir.join("etc"), fs::Permissions::from_mode(0o2751))?;
    let before = digest(&dir)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "--name", &name, "--hostname", "fern"])?;
    let seen = sandbox.exec(
        &name,
        &["stat", "-c", "%n %a %u:%g", "/etc", "/etc/hostname"],
    )?;
    ensure!(
        seen == "/etc 2751 0:7\n/etc/hostname 640 3:4",
        "the machine sees {seen:?}"
    );
    ensure!(sandbox.exec(&name, &["cat", "/etc/hostname"])? == "fern");
    let row = sandbox.row(&name)?.context("listing the machine")?;
    let pid = &row["pid"];
    let laid = format!("/proc/{pid}/root/etc/hostname");
    let mut note = [0; 16];
    let length = rustix::fs::getxattr(Path::new(&laid), "user.note", &mut note[..])?;
    ensure!(&note[..length] == b"kept", "{note:?}");
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["rm", "-f", &name])?;
    ensure!(digest(&dir)? == before, "the tree has changed");
    sandbox.finish()
}
