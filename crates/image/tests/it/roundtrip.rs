//! A real tree, packed by GNU tar and bsdtar in every format, must come out as GNU tar itself unpacks it.

use crate::tree::{Times, assert_same, names, snapshot, xattrs};
use repot_image::{Durability, Image, ImportOptions, Silent, SourceRef, Store};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, mknodat,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of this host, and everything that a tar archive can hold besides.
pub fn make_tree(root: &Path) {
    make_tree_with(root, &[("/usr/share/zoneinfo", "usr/share"), ("/etc", "")]);
}

/// The same with few files.
pub fn make_small_tree(root: &Path) {
    make_tree_with(root, &[("/etc/default", "etc")]);
}

fn make_tree_with(root: &Path, copies: &[(&str, &str)]) {
    let programs = [("/usr/bin/mount", "usr/bin"), ("/usr/bin/tar", "usr/bin")];
    for (from, to) in copies.iter().copied().chain(programs) {
        let to = root.join(to);
        fs::create_dir_all(&to).unwrap();
        if Path::new(from).exists() {
            run(Command::new("cp").arg("-a").arg(from).arg(to));
        }
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/etc/../../../etc/passwd", root.join("usr/absolute")).unwrap();
    symlink(
        format!("{}/end", "long-target".repeat(20)),
        root.join("usr/long"),
    )
    .unwrap();
    fs::hard_link(root.join("usr/bin/tar"), root.join("usr/bin/untar")).unwrap();
    fs::write(root.join("usr/empty"), "").unwrap();
    fs::write(root.join("usr/new\nline \u{e9} \\ \"quoted\""), "x").unwrap();
    fs::write(
        crate::tree::odd(&root.join("usr"), b"not utf-8 \xff\xfe"),
        "x",
    )
    .unwrap();
    let deep = root.join(format!("usr/{}", "deep-directory-name/".repeat(15)));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("n".repeat(255)), "deep").unwrap();
    fs::hard_link(deep.join("n".repeat(255)), root.join("usr/shallow")).unwrap();

    let mode = |path: &str, mode| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(root.join("tmp")).unwrap();
    mode("tmp", 0o1777);
    fs::create_dir_all(root.join("usr/closed/inner")).unwrap();
    fs::write(root.join("usr/closed/inner/file"), "x").unwrap();
    mode("usr/closed/inner/file", 0o000);
    fs::write(root.join("usr/setuid"), "x").unwrap();
    fs::create_dir(root.join("usr/setgid")).unwrap();
    let owner = |path: &str, uid, gid| {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let path = root.join(path);
        rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    owner("usr/setuid", 1000, 42);
    owner("usr/setgid", 0, 50);
    owner("usr/absolute", 5, 6);
    mode("usr/setuid", 0o6755);
    mode("usr/setgid", 0o2775);

    let mknod = |path: &str, kind, bits, device| {
        let (mode, path) = (Mode::from_raw_mode(bits), root.join(path));
        mknodat(CWD, &path, kind, mode, device).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
    };
    fs::create_dir(root.join("dev")).unwrap();
    let device = rustix::fs::makedev;
    mknod("dev/null", FileType::CharacterDevice, 0o666, device(1, 3));
    mknod(
        "dev/sda300",
        FileType::BlockDevice,
        0o660,
        device(259, 70_000),
    );
    mknod("dev/initctl", FileType::Fifo, 0o600, 0);
    owner("dev/sda300", 0, 6);

    // 8 MiB with two pieces of data, one of them at the end.
    let sparse = fs::File::create(root.join("usr/sparse")).unwrap();
    sparse.write_all_at(&[7; 5000], 1 << 20).unwrap();
    sparse
        .write_all_at(&[8; 70_000], (8 << 20) - 70_000)
        .unwrap();
    let holes = fs::File::create(root.join("usr/holes")).unwrap();
    holes.set_len(3 << 20).unwrap();

    mode("usr/closed/inner", 0o555);
    mode("usr/closed", 0o500);
    let times = |path: &str, tv_sec, tv_nsec| {
        let last_modification = Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: last_modification,
            last_modification,
        };
        let path = root.join(path);
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    times("usr/empty", 1, 0);
    times("usr/absolute", 1_000_000_000, 0);
    times("usr", 1_234_567_890, 0);
    times(".", 1_700_000_000, 0);
}

/// What only PAX archives can hold.
pub fn add_pax_features(root: &Path) {
    let set = |path: &str, name: &str, value: &[u8]| {
        let path = root.join(path);
        rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
    };
    // CAP_NET_RAW+ep, then CAP_NET_ADMIN with its bit where a newline would be (0x0a00).
    let capability = |low: u32| {
        let mut value = vec![1, 0, 0, 2];
        value.extend_from_slice(&low.to_le_bytes());
        value.extend_from_slice(&[0; 12]);
        value
    };
    fs::write(root.join("usr/ping"), "x").unwrap();
    set("usr/ping", "security.capability", &capability(1 << 13));
    fs::write(root.join("usr/newline"), "x").unwrap();
    set("usr/newline", "security.capability", &capability(0x0a0a));
    set("usr/newline", "user.text", b"a\nb=c\n\n");
    set("usr/newline", "user.binary", &[0, 10, 255, 0]);
    set("usr/setgid", "trusted.test", b"directory");
    set("usr/absolute", "trusted.test", b"symlink");
    set("dev/null", "trusted.test", b"device");
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        last_modification: Timespec {
            tv_sec: -5,
            tv_nsec: 250_000_000,
        },
    };
    rustix::fs::utimensat(CWD, root.join("usr/ping"), &times, AtFlags::empty()).unwrap();
    // Owners that do not fit seven octal digits.
    let (uid, gid) = (Uid::from_raw(3_000_000_000), Gid::from_raw(2_097_152));
    rustix::fs::chownat(
        CWD,
        root.join("usr/empty"),
        Some(uid),
        Some(gid),
        AtFlags::empty(),
    )
    .unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Packs a tree with GNU tar.
fn pack(root: &Path, to: &Path, options: &[&str]) {
    run(Command::new("tar")
        .args(["--numeric-owner", "-C"])
        .arg(root)
        .args(options)
        .arg("-cf")
        .arg(to)
        .arg("."));
}

fn import(temp: &Path, file: &Path) -> Image {
    let store = Store::open(&temp.join("state")).unwrap();
    let options = ImportOptions {
        durability: Durability::Record,
        ..ImportOptions::default()
    };
    let source = SourceRef::parse(file.as_os_str()).unwrap();
    let imported = store.import(&source, &options, &Silent).unwrap();
    let images = temp.join("state/images");
    let id = imported.image.id().to_string();
    assert!(names(&images).contains(&id));
    imported.image
}

/// Compares with what GNU tar makes of the archive, which must be what went in.
fn check(temp: &Path, file: &Path, source: &[String], times: Times, what: &str) -> PathBuf {
    let by_gnu = temp.join(format!("gnu-{}", file.file_name().unwrap().display()));
    fs::create_dir(&by_gnu).unwrap();
    run(Command::new("tar")
        .args([
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-p",
            "-C",
        ])
        .arg(&by_gnu)
        .arg("-xf")
        .arg(file));
    let expected = snapshot(&by_gnu, times);
    let image = import(temp, file);
    let found = snapshot(&image.rootfs(), times);
    assert_same(&expected, &found, &format!("{what}, against GNU tar"));
    assert_same(source, &found, &format!("{what}, against the source"));
    assert!(
        image.record.unpacked.warnings().is_empty(),
        "{what}: {:?}",
        image.record.unpacked.warnings()
    );
    assert_eq!(image.record.prefix, "");
    image.rootfs()
}

/// A compression format's name and its encoder.
type Encoder = (&'static str, fn(&[u8]) -> Vec<u8>);

pub const ENCODERS: [Encoder; 4] = [
    ("gzip", |data| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }),
    ("xz", |data| {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }),
    ("zstd", |data| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        // As zstd(1) does, and the library does not, by default.
        encoder.include_checksum(true).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }),
    ("bzip2", |data| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }),
];

#[test]
fn pax_in_every_compression() {
    if !crate::is_root("pax_in_every_compression") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    make_tree(&root);
    add_pax_features(&root);
    let source = snapshot(&root, Times::Nanoseconds);
    let plain = temp.path().join("plain.tar");
    let options = ["--format=pax", "--xattrs", "--xattrs-include=*"];
    pack(&root, &plain, &options);
    let rootfs = check(temp.path(), &plain, &source, Times::Nanoseconds, "plain");
    let capability = &xattrs(&rootfs.join("usr/newline"))["security.capability"];
    assert_eq!(capability[4..8], [10, 10, 0, 0]);

    let data = fs::read(&plain).unwrap();
    for (name, encode) in ENCODERS {
        // In three streams with padding between two of them, as `cat` makes them.
        let (first, rest) = data.split_at(data.len() / 3);
        let (second, third) = rest.split_at(data.len() / 2);
        let mut packed = encode(first);
        packed.extend(encode(second));
        packed.extend([0; 4]);
        packed.extend(encode(third));
        let file = temp.path().join(format!("{name}.any-name-will-do"));
        fs::write(&file, packed).unwrap();
        let image = import(temp.path(), &file);
        let found = snapshot(&image.rootfs(), Times::Nanoseconds);
        assert_same(&source, &found, name);
        assert_eq!(image.record.format, format!("tar, {name}"));
        assert_eq!(image.record.unpacked.garbage_bytes, 0);
    }
}

#[test]
fn other_formats_and_sparse_files() {
    if !crate::is_root("other_formats_and_sparse_files") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    make_tree(&root);
    let source = snapshot(&root, Times::Seconds);
    for (name, options) in [
        ("gnu", &["--format=gnu"][..]),
        ("gnu-sparse", &["--format=gnu", "-S"]),
        (
            "pax-sparse-0.0",
            &["--format=pax", "-S", "--sparse-version=0.0"],
        ),
        (
            "pax-sparse-0.1",
            &["--format=pax", "-S", "--sparse-version=0.1"],
        ),
        (
            "pax-sparse-1.0",
            &["--format=pax", "-S", "--sparse-version=1.0"],
        ),
    ] {
        let file = temp.path().join(name);
        pack(&root, &file, options);
        let rootfs = check(temp.path(), &file, &source, Times::Seconds, name);
        if name.contains("sparse") {
            let stat = rustix::fs::stat(rootfs.join("usr/sparse")).unwrap();
            assert!(stat.st_blocks * 512 < 1 << 20, "{name}: no holes");
        }
    }
    // These have no room for the rest.
    fs::remove_dir_all(root.join("usr/deep-directory-name")).unwrap();
    for path in ["usr/shallow", "usr/long", "dev/sda300"] {
        fs::remove_file(root.join(path)).unwrap();
    }
    for name in ["ustar", "v7"] {
        if name == "v7" {
            fs::remove_dir_all(root.join("dev")).unwrap();
            fs::remove_dir_all(root.join("usr/share")).unwrap();
            fs::remove_dir_all(root.join("etc")).unwrap();
        }
        let source = snapshot(&root, Times::Seconds);
        let file = temp.path().join(name);
        pack(&root, &file, &[&format!("--format={name}")]);
        check(temp.path(), &file, &source, Times::Seconds, name);
    }
}

#[test]
fn archives_of_libarchive() {
    let name = "archives_of_libarchive";
    if !crate::is_root(name) {
        return;
    }
    if Command::new("bsdtar").arg("--version").output().is_err() {
        eprintln!("skipped: {name} needs bsdtar (libarchive-tools)");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    make_tree(&root);
    add_pax_features(&root);
    // libarchive 3.6 writes a quarter second after five before the epoch as "-5.25" instead of "-4.75".
    fs::write(root.join("usr/ping"), "without capabilities, after 1970").unwrap();
    let source = snapshot(&root, Times::Nanoseconds);
    let file = temp.path().join("bsdtar.tar");
    run(Command::new("bsdtar")
        .args(["--numeric-owner", "--format=pax", "-C"])
        .arg(&root)
        .arg("-cf")
        .arg(&file)
        .arg("."));
    let image = import(temp.path(), &file);
    let found = snapshot(&image.rootfs(), Times::Nanoseconds);
    assert_same(&source, &found, "bsdtar");
}

#[test]
fn access_control_lists() {
    let name = "access_control_lists";
    if !crate::is_root(name) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    fs::create_dir_all(root.join("usr/journal")).unwrap();
    fs::write(root.join("usr/file"), "x").unwrap();
    // Ids without a name on this host: GNU tar writes names where there are some.
    for (acl, path) in [
        ("u:54321:rwx,g:54322:r-x", "usr/file"),
        ("u:54321:rwx,d:g:54322:r-x,d:o:-", "usr/journal"),
    ] {
        let mut command = Command::new("setfacl");
        command.args(["-m", acl]).arg(root.join(path));
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: {name} needs setfacl and a file system with ACLs");
            return;
        }
    }
    let source = snapshot(&root, Times::Seconds);
    assert!(source.join("").contains("system.posix_acl_default"));
    let file = temp.path().join("acl.tar");
    for program in ["tar", "bsdtar"] {
        let mut command = Command::new(program);
        if program == "tar" {
            command.arg("--format=pax");
        }
        command.args(["--acls", "--numeric-owner", "-C"]).arg(&root);
        match command.arg("-cf").arg(&file).arg(".").status() {
            Ok(status) if status.success() => {}
            _ => continue,
        }
        let found = snapshot(&import(temp.path(), &file).rootfs(), Times::Seconds);
        assert_same(&source, &found, program);
    }
}

#[test]
fn hard_links_to_symlinks() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("source");
    fs::create_dir_all(root.join("usr")).unwrap();
    symlink("nowhere", root.join("usr/a")).unwrap();
    rustix::fs::linkat(
        CWD,
        root.join("usr/a"),
        CWD,
        root.join("usr/b"),
        AtFlags::empty(),
    )
    .unwrap();
    let source = snapshot(&root, Times::Seconds);
    let file = temp.path().join("links.tar");
    pack(&root, &file, &[]);
    check(temp.path(), &file, &source, Times::Seconds, "links");
}
