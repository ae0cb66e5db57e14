//! `RootRead` on trees that lie: links out of the root, loops, FIFOs, devices, files that never end.
//! Tests only: each case runs against a real directory, none needs root.

use crate::{Error, ErrorKind, FileKind, Program, RootRead};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn tree() -> (tempfile::TempDir, RootRead) {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("secret");
    fs::write(&outside, "host").unwrap();
    let root = dir.path().join("root");
    for sub in ["etc", "usr/lib/systemd", "sbin", "usr/sbin"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(root.join("usr/lib/systemd/systemd"), b"\x7fELF").unwrap();
    fs::set_permissions(
        root.join("usr/lib/systemd/systemd"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    symlink("/usr/lib/systemd/systemd", root.join("sbin/init")).unwrap();
    symlink("../../../../secret", root.join("etc/escape")).unwrap();
    symlink(&outside, root.join("etc/absolute-escape")).unwrap();
    symlink("/nowhere", root.join("etc/dangling")).unwrap();
    symlink("loop2", root.join("etc/loop1")).unwrap();
    symlink("loop1", root.join("etc/loop2")).unwrap();
    symlink("/proc/self/root/etc/passwd", root.join("etc/magic")).unwrap();
    let read = RootRead::open(&root).unwrap();
    (dir, read)
}

#[test]
fn absolute_links_stay_inside() {
    let (_dir, root) = tree();
    assert_eq!(
        root.resolve("/sbin/init").unwrap(),
        "/usr/lib/systemd/systemd"
    );
    assert_eq!(
        root.read_link("/sbin/init").unwrap(),
        "/usr/lib/systemd/systemd"
    );
    assert!(root.is_executable("/sbin/init"));
    assert_eq!(root.resolve("/").unwrap(), "/");
    assert_eq!(
        root.resolve("/../../etc/../etc/passwd").unwrap(),
        "/etc/passwd"
    );
    assert_eq!(
        root.symlink_metadata("/sbin/init").unwrap().kind,
        FileKind::Symlink
    );
}

#[test]
fn nothing_outside_is_ever_read() {
    let (_dir, root) = tree();
    for path in [
        "/etc/escape",
        "/etc/absolute-escape",
        "/etc/magic",
        "/../secret",
        "../secret",
    ] {
        let error = root.read(path, 100).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Io, "{path}: {error}");
    }
}

#[test]
fn bad_paths_have_their_errors() {
    let (_dir, root) = tree();
    assert!(matches!(
        root.metadata("/etc/dangling"),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        root.metadata("/etc/loop1"),
        Err(Error::Loop { .. })
    ));
    assert!(matches!(
        root.metadata("/etc/passwd/x"),
        Err(Error::NotADirectory { .. })
    ));
    assert!(matches!(
        root.read_dir("/etc/passwd"),
        Err(Error::NotADirectory { .. })
    ));
    assert!(matches!(
        root.read_link("/etc/passwd"),
        Err(Error::BadPath { .. })
    ));
    assert!(matches!(
        root.read_link("/etc/none"),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(root.metadata("a\0b"), Err(Error::BadPath { .. })));
    let long = "x/".repeat(4000);
    assert!(matches!(root.metadata(&long), Err(Error::BadPath { .. })));
}

#[test]
fn only_regular_files_are_opened() {
    let (dir, root) = tree();
    let fifo = dir.path().join("root/etc/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let refused = |path: &str| match root.read(path, 100) {
        Err(Error::NotRegular { found, .. }) => found,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(refused("/etc/fifo"), FileKind::Fifo);
    assert_eq!(refused("/etc"), FileKind::Directory);
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("root/etc/socket")).unwrap());
    assert_eq!(refused("/etc/socket"), FileKind::Socket);
}

#[test]
fn reads_are_bounded() {
    let (dir, root) = tree();
    let huge = fs::File::create(dir.path().join("root/etc/huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    assert!(matches!(
        root.read_text("/etc/huge"),
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(root.read_head("/etc/huge", 10).unwrap(), [0; 10]);
    assert_eq!(root.read("/etc/passwd", 26).unwrap().len(), 26);
    assert!(matches!(
        root.read("/etc/passwd", 25),
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(root.program("/etc/huge").unwrap(), Program::Other);
}

#[test]
fn directories_are_sorted_and_typed() {
    let (_dir, root) = tree();
    let names: Vec<_> = root
        .read_dir("/")
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["etc", "sbin", "usr"]);
    let sbin = root.read_dir("/sbin").unwrap();
    assert_eq!(sbin[0].kind, FileKind::Symlink);
}

#[test]
fn what_is_no_utf8_is_replaced() {
    let (dir, root) = tree();
    fs::write(dir.path().join("root/etc/latin"), b"NAME=\xe9\n").unwrap();
    assert_eq!(root.read_text("/etc/latin").unwrap(), "NAME=\u{fffd}\n");
}

#[test]
fn programs_are_told_apart() {
    let (dir, root) = tree();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join("root/etc").join(name), bytes).unwrap()
    };
    write("empty", b"");
    write("script", b"#!/bin/sh -e\n");
    write("text", b"hello");
    assert_eq!(root.program("/etc/empty").unwrap(), Program::Empty);
    assert_eq!(root.program("/etc/text").unwrap(), Program::Other);
    assert!(matches!(
        root.program("/etc/script").unwrap(),
        Program::Script { .. }
    ));
    assert!(matches!(
        root.program("/sbin/init").unwrap(),
        Program::Broken(_)
    ));
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    write("elf", &me);
    let Program::Elf { header, .. } = root.program("/etc/elf").unwrap() else {
        panic!("our own test is an ELF program");
    };
    assert!(header.is_program);
}

#[test]
fn a_missing_tree_says_so() {
    let error = RootRead::open(std::path::Path::new("/nonexistent/tree")).unwrap_err();
    assert!(matches!(error, Error::Open { .. }));
    assert!(RootRead::open(std::path::Path::new("/proc/self/exe")).is_err());
}
