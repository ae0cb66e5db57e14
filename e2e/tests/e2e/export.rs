//! `export`: every form is written, the same each time, and what repot reads again is the same tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::Tree;
use repot_e2e::{digest, process};
use serde_json::Value;

use crate::sandbox::{SHORT, Sandbox, utf8};

const FORMS: [&str; 17] = [
    "dir",
    "tar",
    "tar.gz",
    "tar.xz",
    "tar.zst",
    "tar.bz2",
    "squashfs",
    "oci",
    "oci-archive",
    "docker-archive",
    "lxd",
    "lxd-split",
    "lxd-squashfs",
    "lxc",
    "nspawn",
    "aci",
    "wsl",
];

/// Small, and with an init that needs adapting.
fn small(sandbox: &mut Sandbox) -> Result<String> {
    sandbox.base(Tree::named("busybox-alpine")?)
}

/// A directory for what is exported.
fn outs(sandbox: &Sandbox) -> Result<PathBuf> {
    let out = sandbox.dir().join("out");
    fs::create_dir(&out)?;
    Ok(out)
}

/// Digest of a file or of a directory of files.
fn hash(path: &Path) -> Result<String> {
    if path.is_dir() {
        return digest::digest(path);
    }
    Ok(digest::hex(&fs::read(path)?))
}

#[test]
fn every_form_is_the_same_each_time() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let out = outs(&sandbox)?;
    for form in FORMS {
        let paths = ["a", "b"].map(|name| out.join(format!("{name}.{form}")));
        for path in &paths {
            sandbox.ok(&["export", &tree, "--to", form, &utf8(path)?])?;
        }
        // Directories made for it get the time at which they were filled, which is no part of what is in them.
        if paths[0].is_dir() && form != "dir" {
            let (mut names, mut others) = (list(&paths[0])?, list(&paths[1])?);
            ensure!(!names.is_empty() && names == others, "{form}: {names:?}");
            for (name, other) in names.drain(..).zip(others.drain(..)) {
                let same = fs::read(paths[0].join(name))? == fs::read(paths[1].join(other))?;
                ensure!(same, "{form} is another one each time");
            }
        } else {
            ensure!(
                hash(&paths[0])? == hash(&paths[1])?,
                "{form} is another one each time"
            );
        }
    }
    ensure!(
        list(&out)?.len() > 2 * FORMS.len(),
        "something is missing: {:?}",
        list(&out)?
    );
    let left = list(&out)?;
    ensure!(
        !left.iter().any(|name| name.contains("repot-part")),
        "{left:?}"
    );
    sandbox.finish()
}

/// Paths of all files below a directory, sorted.
fn list(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = utf8(Path::new(&entry.file_name()))?;
        if entry.file_type()?.is_dir() {
            found.extend(
                list(&entry.path())?
                    .into_iter()
                    .map(|inner| format!("{name}/{inner}")),
            );
        } else {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn what_was_exported_is_imported_as_the_same_tree() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let before = digest::digest(Path::new(&tree))?;
    let out = outs(&sandbox)?;
    for form in ["tar", "tar.gz", "tar.zst", "tar.bz2", "lxd", "aci"] {
        let file = utf8(&out.join(format!("tree.{form}")))?;
        sandbox.ok(&["export", &tree, "--to", form, "--no-adapt", &file])?;
        let imported: Value = serde_json::from_str(&sandbox.ok(&["import", &file, "--json"])?)?;
        let rootfs = imported["rootfs"].as_str().context("import --json")?;
        ensure!(
            digest::digest(Path::new(rootfs))? == before,
            "{form} came back as another tree: {:?}",
            digest::differences(Path::new(&tree), Path::new(rootfs))?
        );
    }
    let copy = out.join("copy");
    sandbox.ok(&["export", &tree, "--to", "dir", &utf8(&copy)?])?;
    ensure!(digest::digest(&copy)? == before, "the copy is another tree");
    sandbox.finish()
}

/// What container systems take comes back too, by its name and, where it is one file, from standard input.
#[test]
fn images_are_imported_as_the_same_tree() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let copy = sandbox.dir().join("tree");
    Tree::named("busybox-alpine")?.copy_to(&copy)?;
    // A squashfs has no fractions of seconds.
    let mut touch = Command::new("find");
    touch
        .arg(&copy)
        .args(["-exec", "touch", "-h", "-d", "@1700000000", "{}", "+"]);
    let done = process::run(&mut touch, b"", SHORT)?;
    ensure!(done.code == 0, "touch: {done}");
    let tree = utf8(&copy)?;
    let before = digest::digest(&copy)?;
    let out = outs(&sandbox)?;
    for form in [
        "oci",
        "oci-archive",
        "docker-archive",
        "lxd-split",
        "lxd-squashfs",
        "lxc",
        "nspawn",
        "wsl",
        "squashfs",
    ] {
        let path = out.join(format!("tree.{form}"));
        let file = utf8(&path)?;
        let label = ["--to", form, "--no-adapt"];
        let added = if form == "wsl" { 2 } else { 0 };
        sandbox.ok(&[&["export", &tree][..], &label, &[&file]].concat())?;
        let same = |answer: &str| -> Result<String> {
            let imported: Value = serde_json::from_str(answer)?;
            let rootfs = imported["rootfs"].as_str().context("import --json")?;
            let differences = digest::differences(&copy, Path::new(rootfs))?;
            ensure!(
                differences.len() == added,
                "{form} came back as another tree: {:?}",
                differences.iter().take(5)
            );
            ensure!(added > 0 || digest::digest(Path::new(rootfs))? == before);
            Ok(imported["id"].to_string())
        };
        let id = same(&sandbox.ok(&["import", &file, "--json"])?)?;
        if path.is_file() {
            sandbox.ok(&["images", "--rm", id.trim_matches('"')])?;
            let done = sandbox.repot_with(&["import", "-", "--json"], &fs::read(&path)?)?;
            ensure!(done.code == 0, "{form} from standard input: {done}");
            ensure!(same(&done.out())? == id, "another image from a pipe");
        }
    }
    sandbox.finish()
}

#[test]
fn adaptations_are_in_it_unless_left_out() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let out = outs(&sandbox)?;
    let with = out.join("with");
    let without = out.join("without");
    let done = sandbox.repot(&[
        "export",
        &tree,
        "--to",
        "dir",
        "--for",
        "nspawn",
        &utf8(&with)?,
    ])?;
    ensure!(done.code == 0, "export: {done}");
    ensure!(
        done.err().contains("adapted to nspawn"),
        "it does not tell: {done}"
    );
    let inittab = |dir: &Path| fs::read_to_string(dir.join("etc/inittab"));
    ensure!(
        inittab(&with)?.contains("console"),
        "no getty on the console"
    );
    sandbox.ok(&["export", &tree, "--to", "dir", &utf8(&without)?])?;
    ensure!(
        digest::digest(&without)? == digest::digest(Path::new(&tree))?,
        "it was changed"
    );
    let archive = utf8(&out.join("x.tar"))?;
    let plain = utf8(&out.join("y.tar"))?;
    sandbox.ok(&[
        "export",
        &tree,
        "--to",
        "lxc",
        "--no-adapt",
        &utf8(&out.join("lxc"))?,
    ])?;
    sandbox.ok(&["export", &tree, "--to", "tar", "--autologin", &archive])?;
    sandbox.ok(&["export", &tree, "--to", "tar", &plain])?;
    ensure!(
        fs::read(&archive)? != fs::read(&plain)?,
        "--autologin does nothing"
    );
    sandbox.finish()
}

#[test]
fn a_machine_is_exported_with_what_it_wrote() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let name = sandbox.name();
    let out = outs(&sandbox)?.join("copy");
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    sandbox.exec(
        &name,
        &["sh", "-c", "echo mine > /root/note; rm /etc/securetty"],
    )?;
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["export", &name, "--to", "dir", &utf8(&out)?])?;
    ensure!(fs::read_to_string(out.join("root/note"))? == "mine\n");
    ensure!(!out.join("etc/securetty").exists(), "it is back");
    ensure!(out.join("etc/passwd").exists());
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn what_cannot_be_written_is_said() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let out = outs(&sandbox)?;
    fs::write(out.join("file"), "precious")?;
    let directory = utf8(&out)?;
    for (args, message) in [
        (&["--to", "tar", &*directory][..], "is there already"),
        (&["--to", "oci", "-"], "is a directory, not a stream"),
        (
            &["--to", "tar.gz", "--compress", "xz", "x"],
            "leaves no choice",
        ),
        (&["--to", "tar", "/no/such/dir/x"], "cannot write"),
    ] {
        let args = [&["export", &tree], args].concat();
        let done = sandbox.repot(&args)?;
        ensure!(
            done.code != 0 && done.err().contains(message),
            "{args:?}: {done}"
        );
    }
    ensure!(fs::read_to_string(out.join("file"))? == "precious");
    sandbox.finish()
}
