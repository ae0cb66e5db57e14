//! What a source may be: found out by content, refused with its name, and searched for a root file system.

use crate::raw::Raw;
use crate::roundtrip::ENCODERS;
use crate::tree::names;
use repot_image::{
    Durability, Error, ErrorKind, Image, ImportOptions, Progress, Silent, Snapshot, SourceRef,
    Store,
};
use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};

fn import(temp: &Path, bytes: &[u8]) -> Result<Image, Error> {
    import_watched(temp, bytes, &Silent)
}

fn import_watched(temp: &Path, bytes: &[u8], progress: &dyn Progress) -> Result<Image, Error> {
    let file = temp.join("source");
    std::fs::write(&file, bytes).unwrap();
    let store = Store::open(&temp.join("state")).unwrap();
    let options = ImportOptions {
        durability: Durability::Record,
        ..ImportOptions::default()
    };
    let imported = store.import(&SourceRef::File(file), &options, progress)?;
    Ok(imported.image)
}

#[test]
fn what_is_no_archive_is_named() {
    let temp = tempfile::tempdir().unwrap();
    for (bytes, kind, text) in [
        (&b""[..], ErrorKind::Format, "empty"),
        (
            b"hello, world",
            ErrorKind::Format,
            "\"hello, world\" (68 65",
        ),
        (b"QFI\xfb", ErrorKind::Format, "a qcow2 disk image"),
        (b"070701", ErrorKind::Format, "a cpio archive"),
        (&[0; 10240], ErrorKind::Format, "without entries"),
    ] {
        let error = import(temp.path(), bytes).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        for (name, encode) in ENCODERS {
            let error = import(temp.path(), &encode(bytes)).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
        }
    }
    let error = import(temp.path(), b"hsqs").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    let (_, encode) = ENCODERS[0];
    let error = import(temp.path(), &encode(b"hsqs")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    assert!(error.to_string().contains("decompress it first"), "{error}");
    assert_eq!(names(&temp.path().join("state/images")), [".lock"]);
}

#[test]
fn compressed_data_that_is_cut_off_or_damaged() {
    let temp = tempfile::tempdir().unwrap();
    // Data that does not compress, so that every format has more than one block.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(3 << 20)
    .collect();
    let archive = Raw::rootfs().file("usr/noise", &noise).end();
    for (name, encode) in ENCODERS {
        let packed = encode(&archive);
        for length in [packed.len() / 2, packed.len() - 3, 20] {
            let error = import(temp.path(), &packed[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{name} {length}: {error}");
        }
        let mut damaged = packed.clone();
        damaged[packed.len() / 2] ^= 0x55;
        let error = import(temp.path(), &damaged).unwrap_err();
        assert!(matches!(error, Error::Decompress { .. }), "{name}: {error}");
        assert_eq!(names(&temp.path().join("state/images")), [".lock"]);
        // Behind the end is ignored, as by GNU tar, but not in silence.
        let trailing = [&packed[..], b"garbage"].concat();
        let image = import(temp.path(), &trailing).unwrap();
        assert_eq!(image.record.unpacked.garbage_bytes, 7, "{name}");
        let store = Store::open(&temp.path().join("state")).unwrap();
        store.remove(image.id()).unwrap();
    }
    let trailing = [&archive[..], b"garbage"].concat();
    let image = import(temp.path(), &trailing).unwrap();
    assert_eq!(image.record.unpacked.garbage_bytes, 7);
}

#[test]
fn the_root_file_system_is_found() {
    let temp = tempfile::tempdir().unwrap();
    for (archive, prefix) in [
        (Raw::rootfs().dir("a/").dir("a/usr/"), ""),
        (
            Raw::default().dir("debian-12/").dir("debian-12/usr/"),
            "debian-12",
        ),
        (Raw::default().file("rootfs/bin/sh", b"x"), "rootfs"),
        (
            Raw::default()
                .file("metadata.yaml", b"x")
                .dir("templates/")
                .dir("rootfs/usr/"),
            "rootfs",
        ),
        (Raw::default().dir("./images/rootfs/sbin/"), "images/rootfs"),
        (Raw::default().dir("a/").symlink("b/bin", "usr/bin"), "b"),
        (Raw::default().dir("x/nix/store/"), "x"),
        (Raw::default().dir("gnu/store/").dir("var/guix/"), ""),
    ] {
        let image = import(temp.path(), &archive.end()).unwrap();
        assert_eq!(image.record.prefix, prefix);
        let mode = std::fs::metadata(image.rootfs()).unwrap();
        assert!(mode.is_dir());
        let files = names(image.rootfs().parent().unwrap());
        assert_eq!(files, ["image.json", "lock", "rootfs"]);
    }
    for (archive, text) in [
        (
            Raw::default().file("README", b"x").dir("src/"),
            "README, src",
        ),
        (Raw::default().dir("a/usr/").dir("b/usr/"), "several: a, b"),
        (Raw::default().file("metadata.yaml", b"x"), "metadata half"),
        // A link to a root file system is none.
        (Raw::default().symlink("root", "/"), "root"),
    ] {
        let error = import(temp.path(), &archive.end()).unwrap_err();
        assert!(matches!(error, Error::NoRootfs { .. }), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn progress_reaches_the_end() {
    let temp = tempfile::tempdir().unwrap();
    let data = vec![1; 5 << 20];
    let mut archive = Raw::rootfs();
    for number in 0..5 {
        archive = archive.file(&format!("usr/{number}"), &data);
    }
    let archive = archive.end();
    let seen: RefCell<Vec<Snapshot>> = RefCell::default();
    let watch = |now: &Snapshot| seen.borrow_mut().push(*now);
    import_watched(temp.path(), &archive, &watch).unwrap();
    let all = seen.take();
    let last = all.last().unwrap();
    assert!(all.len() >= 5);
    assert!(all.is_sorted_by_key(|now| (now.entries, now.read_bytes)));
    assert_eq!(last.total_bytes, Some(archive.len() as u64));
    assert_eq!(last.read_bytes, archive.len() as u64);
    assert_eq!((last.entries, last.unpacked_bytes), (7, 25 << 20));
}

#[test]
fn standard_input() {
    let temp = tempfile::tempdir().unwrap();
    let archive = Raw::rootfs().file("usr/x", &[1; 300_000]).end();
    let packed = (ENCODERS[0].1)(&archive);
    std::fs::write(temp.path().join("source"), &packed).unwrap();
    let file = std::fs::File::open(temp.path().join("source")).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::child", "--nocapture"])
        .env("REPOT_TEST_STATE", temp.path().join("state"))
        .env("REPOT_TEST_SOURCE", "-")
        .stdin(file)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    // The same bytes from a file are the same image.
    let image = import(temp.path(), &packed).unwrap();
    assert_eq!(image.record.source, "standard input");
    assert_eq!(image.record.source_bytes, packed.len() as u64);
}
