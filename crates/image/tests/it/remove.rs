//! Removing trees that were filled by somebody else.

use crate::tree::{Times, names, snapshot};
use repot_image::{Error, remove_tree};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn remove(parent: &Path, name: &str) -> Result<(), Error> {
    let dir = File::open(parent).unwrap();
    remove_tree(dir.as_fd(), OsStr::new(name), parent)
}

#[test]
fn symlinks_are_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "alive").unwrap();
    let before = snapshot(&outside, Times::Nanoseconds);
    let tree = temp.path().join("parent/tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    symlink(&outside, tree.join("a/link")).unwrap();
    symlink("../../../outside", tree.join("a/b/link")).unwrap();
    symlink("loop", tree.join("loop")).unwrap();
    std::fs::hard_link(outside.join("canary"), tree.join("a/hard")).unwrap();
    std::fs::remove_file(tree.join("a/hard")).unwrap();
    remove(&temp.path().join("parent"), "tree").unwrap();
    assert!(names(&temp.path().join("parent")).is_empty());
    assert_eq!(before, snapshot(&outside, Times::Nanoseconds));
    // The tree itself may be a symlink, a file, or not there.
    symlink(&outside, temp.path().join("parent/tree")).unwrap();
    remove(&temp.path().join("parent"), "tree").unwrap();
    std::fs::write(temp.path().join("parent/tree"), "").unwrap();
    remove(&temp.path().join("parent"), "tree").unwrap();
    remove(&temp.path().join("parent"), "tree").unwrap();
    assert_eq!(before, snapshot(&outside, Times::Nanoseconds));
}

#[test]
fn thirty_thousand_nested_directories() {
    let temp = tempfile::tempdir().unwrap();
    let mut dir: rustix::fd::OwnedFd = File::open(temp.path()).unwrap().into();
    let mode = rustix::fs::Mode::RWXU;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    for _ in 0..30_000 {
        rustix::fs::mkdirat(&dir, "d", mode).unwrap();
        dir = rustix::fs::openat(&dir, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    drop(dir);
    // A name that the removal uses itself.
    std::fs::create_dir_all(temp.path().join("d/.repot-deep-0/x")).unwrap();
    remove(temp.path(), "d").unwrap();
    assert!(names(temp.path()).is_empty());
}

#[test]
fn unwritable_directories() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/b/file"), "x").unwrap();
    for path in ["a/b", "a", ""] {
        let mode = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(tree.join(path), mode).unwrap();
    }
    remove(temp.path(), "tree").unwrap();
    assert!(names(temp.path()).is_empty());
}

#[test]
fn immutable_files() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    std::fs::create_dir_all(tree.join("dir")).unwrap();
    std::fs::write(tree.join("dir/file"), "x").unwrap();
    for path in ["dir/file", "dir"] {
        let file = File::open(tree.join(path)).unwrap();
        let immutable = rustix::fs::IFlags::IMMUTABLE;
        if rustix::fs::ioctl_setflags(&file, immutable).is_err() {
            eprintln!("skipped: immutable_files needs a file system and the right to set the flag");
            return;
        }
    }
    assert!(std::fs::remove_dir_all(&tree).is_err());
    remove(temp.path(), "tree").unwrap();
    assert!(names(temp.path()).is_empty());
}

#[test]
fn mounts_are_left_alone() {
    if !crate::is_root("mounts_are_left_alone") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("precious"), "x").unwrap();
    let mount = temp.path().join("tree/a/mnt");
    std::fs::create_dir_all(&mount).unwrap();
    // A bind mount: on the same device, so that only the kernel can tell.
    rustix::mount::mount_bind(&data, &mount).unwrap();
    let error = remove(temp.path(), "tree").unwrap_err();
    let is_mount = matches!(&error, Error::Mounted { path } if *path == mount);
    rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(is_mount, "{error}");
    assert!(data.join("precious").exists());
    remove(temp.path(), "tree").unwrap();
}
