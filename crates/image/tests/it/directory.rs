//! Directories as sources, and trees as archives.

use crate::roundtrip::{add_pax_features, make_tree};
use crate::tree::{Times, assert_same, names, snapshot};
use repot_image::{
    Durability, Error, ImportOptions, Imported, Silent, SourceRef, Store, pack_tree,
};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

fn import(state: &Path, dir: &Path) -> Result<Imported, Error> {
    let store = Store::open(state).unwrap();
    let options = ImportOptions {
        durability: Durability::Record,
        ..ImportOptions::default()
    };
    let source = SourceRef::parse(dir.as_os_str()).unwrap();
    assert_eq!(source, SourceRef::Directory(dir.to_owned()));
    store.import(&source, &options, &Silent)
}

#[test]
fn a_directory_becomes_an_image() {
    if !crate::is_root("a_directory_becomes_an_image") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    make_tree(&root);
    add_pax_features(&root);
    let source = snapshot(&root, Times::Nanoseconds);
    let imported = import(temp.path(), &root).unwrap();
    let found = snapshot(&imported.image.rootfs(), Times::Nanoseconds);
    assert_same(&source, &found, "import of a directory");
    assert_eq!(snapshot(&root, Times::Nanoseconds), source);
    assert_eq!(imported.image.record.format, "dir");
    let stat = rustix::fs::stat(imported.image.rootfs().join("usr/sparse")).unwrap();
    assert!(stat.st_blocks * 512 < 1 << 20, "no holes");

    // What GNU tar makes of the archive in between; the image's own tree gives the same one.
    let pack = |from: &Path, to: &str| {
        let path = temp.path().join(to);
        let mut file = File::create(&path).unwrap();
        let dir = File::open(from).unwrap();
        pack_tree(dir.as_fd(), from, &mut file).unwrap();
        path
    };
    let archive = pack(&root, "a.tar");
    let again = pack(&imported.image.rootfs(), "b.tar");
    assert!(fs::read(&archive).unwrap() == fs::read(again).unwrap());
    let by_gnu = temp.path().join("gnu");
    fs::create_dir(&by_gnu).unwrap();
    let status = Command::new("tar")
        .args([
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-p",
            "-C",
        ])
        .arg(&by_gnu)
        .arg("-xf")
        .arg(&archive)
        .status()
        .unwrap();
    assert!(status.success());
    assert_same(&source, &snapshot(&by_gnu, Times::Nanoseconds), "GNU tar");

    // The archive is the image: the same id from either.
    let store = Store::open(temp.path()).unwrap();
    let source = SourceRef::File(archive);
    let options = ImportOptions::default();
    let by_file = store.import(&source, &options, &Silent).unwrap();
    assert!(!by_file.is_new);
    assert_eq!(by_file.image.id(), imported.image.id());
    assert!(!import(temp.path(), &root).unwrap().is_new);
}

#[test]
fn what_is_no_root_file_system_is_not_copied() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().join("home");
    fs::create_dir_all(home.join("documents")).unwrap();
    let error = import(temp.path(), &home).unwrap_err();
    assert!(matches!(error, Error::NoRootfs { .. }), "{error}");
    // Below one directory it is found.
    fs::create_dir_all(home.join("debian/usr/bin")).unwrap();
    let image = import(temp.path(), &home).unwrap().image;
    assert_eq!(image.record.prefix, "debian");
    assert_eq!(names(&image.rootfs()), ["usr"]);
}

#[test]
fn a_directory_with_the_store_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let image = import(&root.join("var/lib/repot"), &root).unwrap().image;
    let copied = image.rootfs().join("var/lib/repot/images");
    assert!(names(&copied).is_empty());
}

#[test]
fn sockets_and_mounts_are_left_out() {
    if !crate::is_root("sockets_and_mounts_are_left_out") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("proc")).unwrap();
    fs::create_dir_all(root.join("run")).unwrap();
    let _listener = UnixListener::bind(root.join("run/socket")).unwrap();
    rustix::mount::mount_bind("/proc/self/fdinfo", root.join("proc")).unwrap();
    let mut archive = Vec::new();
    let dir = File::open(&root).unwrap();
    let result = pack_tree(dir.as_fd(), &root, &mut archive);
    rustix::mount::unmount(root.join("proc"), rustix::mount::UnmountFlags::DETACH).unwrap();
    let report = result.unwrap();
    assert_eq!(report.skipped_sockets, 1);
    assert_eq!(report.skipped_mounts, [root.join("proc/")]);
    assert_eq!(report.entries, 3);
}
