//! Archives that are cut off, damaged, lie about sizes, or want more than their share.

use crate::hostile::{Case, assert_refused};
use crate::raw::{Entry, Raw, header};
use repot_image::{Error, ErrorKind, Limits, Refusal};
use std::io::{Read, Write};

#[test]
fn owners_and_sizes_that_cannot_be() {
    let start = Raw::rootfs();
    let offset = start.offset();
    for uid in ["4294967295", "4294967296", "99999999999999"] {
        let archive = start
            .clone()
            .pax(b'x', &[("uid", uid.as_bytes())])
            .file("usr/x", b"x");
        assert_refused(archive, offset, "usr/x", |it| *it == Refusal::BadOwner);
    }
    let case = Case::new();
    for size in [1 << 40, i64::MAX as u64, u64::MAX] {
        let entry = Entry {
            name: b"usr/x",
            size: Some(size),
            ..Entry::default()
        };
        let error = case.refused(&start.clone().entry(&entry).end());
        let kinds = [ErrorKind::Limit, ErrorKind::NoSpace, ErrorKind::Damaged];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
    // A header that claims to be an endless name must not be believed either.
    let entry = Entry {
        name: b"././@LongLink",
        kind: b'L',
        size: Some(6 << 30),
        ..Entry::default()
    };
    let error = case.refused(&start.entry(&entry).end());
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
fn cut_off_archives() {
    let case = Case::new();
    let start = Raw::rootfs();
    let in_header = &start.clone().file("usr/x", b"x").0[..start.0.len() + 300];
    let error = case.refused(in_header);
    assert!(
        matches!(error, Error::Truncated { offset, .. } if offset == start.offset() + 300),
        "{error}"
    );
    let data = vec![7; 100_000];
    let in_data = &start.clone().file("usr/x", &data).0[..start.0.len() + 50_000];
    let error = case.refused(in_data);
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(
        error.to_string().contains("the data of \"usr/x\""),
        "{error}"
    );
    let after_extension = start.clone().long(b'L', b"usr/x");
    assert_eq!(case.refused(&after_extension.0).kind(), ErrorKind::Damaged);
    assert_eq!(
        case.refused(&after_extension.end()).kind(),
        ErrorKind::Damaged
    );
    // Between two entries it cannot be told from an archive without end mark: a warning.
    let image = case.import(&start.0, Limits::default()).unwrap();
    assert!(image.record.unpacked.unmarked_end);
    assert_eq!(image.record.unpacked.warnings().len(), 1);
}

#[test]
fn damaged_headers() {
    let case = Case::new();
    let start = Raw::rootfs();
    let mut archive = start.clone().file("usr/x", b"x").end();
    archive[start.0.len() + 10] ^= 1;
    let error = case.refused(&archive);
    assert!(
        matches!(error, Error::Damaged { offset, .. } if offset == start.offset()),
        "{error}"
    );
    let mut block = header(&Entry {
        name: b"usr/x",
        ..Entry::default()
    });
    block[124..136].copy_from_slice(b"not a number");
    crate::raw::checksum(&mut block);
    let archive = [&start.0[..], &block, &[0; 1024]].concat();
    assert_eq!(case.refused(&archive).kind(), ErrorKind::Damaged);
    for record in [&b"999 path=x\n"[..], b"x", b"9 size=-1\n", b"12 uid=xyz\n"] {
        let entry = Entry {
            name: b"PaxHeaders/x",
            kind: b'x',
            data: record,
            ..Entry::default()
        };
        let archive = start.clone().entry(&entry).file("usr/x", b"x").end();
        assert_eq!(case.refused(&archive).kind(), ErrorKind::Damaged);
    }
}

#[test]
fn bombs() {
    let case = Case::new();
    let limits = Limits {
        max_unpacked_bytes: 10 << 20,
        max_entries: 1000,
        ..Limits::default()
    };
    // 256 MiB of zeros in some kilobytes: as a file, and after the end of the archive.
    let entry = Entry {
        name: b"usr/zeros",
        size: Some(256 << 20),
        ..Entry::default()
    };
    for start in [Raw::rootfs().entry(&entry).0, Raw::rootfs().end()] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&start).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(256 << 20), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        let error = case.import(&bomb, limits.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
    // More files than the disk has inodes.
    let mut many = Raw::rootfs();
    for number in 0..2000 {
        many = many.file(&format!("usr/{number}"), b"");
    }
    let error = case.import(&many.end(), limits.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    // Directories that no entry names count too.
    let deep = "a/".repeat(1500);
    let archive = Raw::rootfs()
        .long(b'L', format!("{deep}x").as_bytes())
        .file("x", b"")
        .file("usr/y", b"");
    let error = case.import(&archive.end(), limits.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    // An extended attribute larger than any kernel takes.
    let archive = Raw::rootfs()
        .pax(b'x', &[("SCHILY.xattr.user.x", &[b'x'; 70_000])])
        .file("usr/y", b"");
    let error = case.import(&archive.end(), limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
fn sparse_maps_that_lie() {
    let case = Case::new();
    for map in [
        "0,512,100,412",
        "0,1024,5000,1",
        "9223372036854775807,1024",
        "1,2,3",
        "",
    ] {
        let archive = Raw::rootfs()
            .pax(
                b'x',
                &[
                    ("GNU.sparse.map", map.as_bytes()),
                    ("GNU.sparse.size", b"4096"),
                ],
            )
            .file("usr/x", &[1; 1024]);
        let error = case.refused(&archive.end());
        assert_eq!(error.kind(), ErrorKind::Damaged, "{map}: {error}");
    }
    // Version 1.0, with a map that promises a million pieces.
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"4096"),
    ];
    for data in [
        &b"1000000\n0\n"[..],
        b"99999999999\n",
        b"x\n",
        b"1\n0\n4096\n",
    ] {
        let archive = Raw::rootfs().pax(b'x', &records).file("usr/x", data);
        assert_eq!(case.refused(&archive.end()).kind(), ErrorKind::Damaged);
    }
}

#[test]
fn headers_without_end() {
    // Nothing but extension headers, or blocks of a sparse map: no entry is ever counted.
    let case = Case::new();
    let limits = Limits {
        max_unpacked_bytes: 10 << 20,
        ..Limits::default()
    };
    let empty = |kind| Raw::default().pax(kind, &[]).0;
    let mut sparse = header(&Entry {
        name: b"usr/x",
        kind: b'S',
        ..Entry::default()
    });
    sparse[257..265].copy_from_slice(b"ustar  \0");
    sparse[482] = 1;
    sparse[483..495].fill(b'0');
    crate::raw::checksum(&mut sparse);
    let mut map = [0; 512];
    map[504] = 1;
    for (start, block) in [
        (Vec::new(), empty(b'x')),
        (Vec::new(), empty(b'g')),
        (Vec::new(), empty(b'L')),
        (Vec::new(), empty(b'V')),
        (sparse.to_vec(), map.to_vec()),
    ] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&Raw::rootfs().0).unwrap();
        encoder.write_all(&start).unwrap();
        for _ in 0..30_000 {
            encoder.write_all(&block).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let error = case.import(&bomb, limits.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
    // More attributes than any file can have.
    let names: Vec<String> = (0..5000)
        .map(|it| format!("SCHILY.xattr.user.{it}"))
        .collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|it| (&it[..], &b"x"[..])).collect();
    let archive = Raw::rootfs().pax(b'x', &records).file("usr/x", b"");
    assert_eq!(case.refused(&archive.end()).kind(), ErrorKind::Damaged);
}

#[test]
fn global_headers() {
    if !crate::is_root("global_headers") {
        return;
    }
    let case = Case::new();
    let archive = Raw::default()
        .pax(
            b'g',
            &[
                ("uid", b"7"),
                ("path", b"/not/for/all"),
                ("comment", b"git"),
            ],
        )
        .dir("usr/")
        .pax(b'x', &[("uid", b"8")])
        .file("usr/own", b"")
        .pax(b'g', &[("uid", b"9")])
        .file("usr/last", b"");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    for (path, uid) in [("usr", 7), ("usr/own", 8), ("usr/last", 9)] {
        let stat = rustix::fs::stat(image.rootfs().join(path)).unwrap();
        assert_eq!(stat.st_uid, uid, "{path}");
    }
}
