//! Everything that can be booted: directories, tarballs of all kinds, images, machines; and where writes go.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::{Compression, Tree};
use serde_json::Value;

use crate::sandbox::{LONG, Sandbox, utf8};

/// The smallest tree: what is tested here does not depend on the distribution.
fn small() -> Result<Tree> {
    Tree::named("bookworm-busybox")
}

fn boots_from(compression: Compression) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let tarball = utf8(&small()?.tarball(compression)?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tarball, "-d", "-n", &name])?;
    ensure!(sandbox.exec(&name, &["cat", "/etc/hostname"])? == "bookworm-busybox");
    // The same bytes are the same image, whatever packs them; a second boot imports nothing.
    ensure!(images(&sandbox)?.len() == 1);
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(images(&sandbox)?.len() == 1);
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}

fn images(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let document: Value = serde_json::from_str(&sandbox.ok(&["images", "--json"])?)?;
    Ok(document["images"]
        .as_array()
        .context("listing images")?
        .clone())
}

#[test]
fn plain_tarball() -> Result<()> {
    boots_from(Compression::None)
}

#[test]
fn gzip_tarball() -> Result<()> {
    boots_from(Compression::Gzip)
}

#[test]
fn xz_tarball() -> Result<()> {
    boots_from(Compression::Xz)
}

#[test]
fn zstd_tarball() -> Result<()> {
    boots_from(Compression::Zstd)
}

#[test]
fn bzip2_tarball() -> Result<()> {
    boots_from(Compression::Bzip2)
}

#[test]
fn standard_input() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let bytes = fs::read(small()?.tarball(Compression::Gzip)?)?;
    let name = sandbox.name();
    let done = sandbox.repot_with(&["boot", "-", "-d", "-n", &name], &bytes)?;
    ensure!(done.code == 0, "boot -: {done}");
    sandbox.exec(&name, &["true"])?;
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn image_of_the_store() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let tarball = utf8(&small()?.tarball(Compression::None)?)?;
    sandbox.ok(&["import", &tarball])?;
    let found = images(&sandbox)?;
    let id = found
        .first()
        .and_then(|image| image["id"].as_str())
        .context("reading the image's id")?
        .to_owned();
    let name = sandbox.name();
    let short = id
        .trim_start_matches("sha256:")
        .get(..12)
        .context("shortening the id")?
        .to_owned();
    sandbox.ok(&["boot", &short, "-d", "-n", &name])?;
    sandbox.exec(&name, &["true"])?;
    // An image that a machine stands on cannot be removed under it.
    let done = sandbox.repot(&["images", "--rm", &short])?;
    ensure!(
        done.code == 3 && done.err().contains(&name),
        "images --rm of a used image: {done}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.ok(&["images", "--rm", &short])?;
    ensure!(images(&sandbox)?.is_empty());
    sandbox.finish()
}

/// Writes of a machine are kept until `rm`, in a layer of its own.
#[test]
fn a_machine_again() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(small()?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    sandbox.exec(
        &name,
        &[
            "sh",
            "-c",
            "echo kept >/root/kept; rm /etc/hosts; mkdir /srv; chown 7:8 /srv",
        ],
    )?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(sandbox.exec(&name, &["cat", "/root/kept"])? == "kept");
    sandbox.expect(&["exec", &name, "test", "-e", "/etc/hosts"], 1)?;
    ensure!(sandbox.exec(&name, &["stat", "-c", "%u:%g", "/srv"])? == "7:8");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    sandbox.expect(&["exec", &name, "test", "-e", "/root/kept"], 1)?;
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn ephemeral() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(small()?)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-x", "-n", &name])?;
    sandbox.exec(&name, &["sh", "-c", "echo gone >/root/gone"])?;
    sandbox.ok(&["reboot", "--wait", &name])?;
    sandbox.ok(&["stop", &name])?;
    ensure!(
        sandbox.row(&name)?.is_none(),
        "an ephemeral machine is still listed"
    );
    ensure!(
        !sandbox.data().join("machines").join(&name).exists(),
        "it has left a record"
    );
    sandbox.finish()
}

/// Writes land in the tree itself, with the ids that they have inside.
#[test]
fn in_place() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let copy = sandbox.dir().join("tree");
    small()?.copy_to(&copy)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &utf8(&copy)?, "-d", "--in-place", "-n", &name])?;
    let script = "echo here >/root/mark; echo 1 >/root/other; chown 1000:50 /root/other; chmod 4755 /root/other";
    sandbox.exec(&name, &["sh", "-c", script])?;
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    ensure!(fs::read_to_string(copy.join("root/mark"))? == "here\n");
    let (mark, other) = (
        fs::metadata(copy.join("root/mark"))?,
        fs::metadata(copy.join("root/other"))?,
    );
    ensure!(
        (mark.uid(), mark.gid()) == (0, 0),
        "mark belongs to {}:{}",
        mark.uid(),
        mark.gid()
    );
    ensure!((other.uid(), other.gid(), other.mode() & 0o7777) == (1000, 50, 0o4755));
    sandbox.finish()
}

/// Without a name the same tree is the same machine, and the name comes from the tree.
#[test]
fn default_name() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let name = sandbox.name();
    let copy = sandbox.dir().join(&name);
    small()?.copy_to(&copy)?;
    sandbox.ok(&["boot", &utf8(&copy)?, "-d"])?;
    ensure!(sandbox.state(&name)? == "running");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// A hostile archive is refused with the entry and its place, and leaves nothing.
#[test]
fn hostile_archive() -> Result<()> {
    let sandbox = Sandbox::new()?;
    fs::write(sandbox.dir().join("evil"), "evil\n")?;
    let tarball = sandbox.dir().join("evil.tar");
    let mut pack = Command::new("tar");
    pack.args(["-cPf"])
        .arg(&tarball)
        .args(["--transform", "s,^evil$,../../evil,", "-C"]);
    pack.arg(sandbox.dir()).arg("evil");
    let packed = process::run(&mut pack, b"", LONG)?;
    ensure!(packed.code == 0, "tar: {packed}");
    let name = sandbox.name();
    let done = sandbox.expect(&["boot", &utf8(&tarball)?, "-n", &name], 3)?;
    let message = done.err();
    ensure!(
        message.contains("../../evil"),
        "the entry is not named: {message}"
    );
    ensure!(
        message.contains("offset") || message.contains("byte"),
        "its place is not told: {message}"
    );
    ensure!(images(&sandbox)?.is_empty());
    ensure!(!sandbox.data().join("evil").exists() && !sandbox.data().join("images/evil").exists());
    ensure!(sandbox.row(&name)?.is_none());
    sandbox.finish()
}

#[test]
fn no_such_source() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let done = sandbox.expect(&["boot", "no-such-thing"], 3)?;
    ensure!(
        done.err().contains("no-such-thing") && done.err().contains("repot list"),
        "{done}"
    );
    let done = sandbox.expect(&["boot", "/"], 3)?;
    ensure!(done.err().contains("host's own root"), "{done}");
    let text = sandbox.dir().join("notes.txt");
    fs::write(&text, "these are no packed files\n".repeat(100))?;
    let done = sandbox.expect(&["boot", &utf8(&text)?], 3)?;
    ensure!(done.err().contains("notes.txt"), "{done}");
    sandbox.finish()
}
