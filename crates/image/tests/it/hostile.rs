//! Archives that want out: each is refused with its entry and offset, nothing outside of the tree has changed, and
//! the store is empty afterwards.

use crate::raw::{Entry, Raw};
use crate::tree::{Times, names, snapshot, xattrs};
use repot_image::{
    Durability, Error, ErrorKind, Image, ImportOptions, Limits, Refusal, Silent, SourceRef, Store,
};
use std::path::{Path, PathBuf};

/// A store, and next to it a directory that nothing may touch.
pub struct Case {
    temp: tempfile::TempDir,
    before: Vec<String>,
}

impl Case {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "alive").unwrap();
        let before = snapshot(&outside, Times::Nanoseconds);
        Self { temp, before }
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    pub fn import(&self, archive: &[u8], limits: Limits) -> Result<Image, Error> {
        let file = self.temp.path().join("archive");
        std::fs::write(&file, archive).unwrap();
        let store = Store::open(&self.temp.path().join("state")).unwrap();
        let options = ImportOptions {
            limits,
            durability: Durability::Record,
        };
        let result = store.import(&SourceRef::File(file), &options, &Silent);
        assert_eq!(
            self.before,
            snapshot(&self.outside(), Times::Nanoseconds),
            "something outside has changed"
        );
        if result.is_err() {
            let images = self.temp.path().join("state/images");
            assert_eq!(names(&images), [".lock"], "something was left behind");
        }
        result.map(|imported| imported.image)
    }

    pub fn refused(&self, archive: &[u8]) -> Error {
        self.import(archive, Limits::default()).unwrap_err()
    }
}

/// Checks that `archive` is refused at `offset` because of `entry`, for `reason`.
#[track_caller]
pub fn assert_refused(archive: Raw, offset: u64, entry: &str, expected: impl Fn(&Refusal) -> bool) {
    let case = Case::new();
    let error = case.refused(&archive.end());
    assert_eq!(error.kind(), ErrorKind::Hostile, "{error}");
    let text = error.to_string();
    let Error::Refused {
        entry: name,
        offset: at,
        reason,
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!((name, at), (format!("{entry:?}"), offset), "{text}");
    assert!(expected(&reason), "{text}");
}

#[test]
fn absolute_names() {
    let start = Raw::rootfs();
    let offset = start.offset();
    for name in ["/etc/passwd", "//etc/passwd", "/"] {
        let archive = start.clone().file(name, b"x");
        assert_refused(archive, offset, name, |it| *it == Refusal::Absolute);
    }
    let archive = start.clone().dir("/etc/");
    assert_refused(archive, offset, "/etc/", |it| *it == Refusal::Absolute);
}

#[test]
fn names_with_parent_components() {
    let start = Raw::rootfs();
    let offset = start.offset();
    for name in [
        "../../../../outside/canary",
        "etc/../../../../../outside/canary",
        "..",
        "usr/..",
        "./../x",
    ] {
        let archive = start.clone().file(name, b"dead");
        assert_refused(archive, offset, name, |it| *it == Refusal::ParentDir);
    }
}

#[test]
fn names_hidden_in_extension_headers() {
    let name = "../../../../outside/canary";
    let start = Raw::rootfs();
    let offset = start.offset();
    let long = start
        .clone()
        .long(b'L', name.as_bytes())
        .file("usr/x", b"dead");
    assert_refused(long, offset, name, |it| *it == Refusal::ParentDir);
    let pax = start
        .clone()
        .pax(b'x', &[("path", name.as_bytes())])
        .file("usr/x", b"dead");
    assert_refused(pax, offset, name, |it| *it == Refusal::ParentDir);
    let sparse = start
        .pax(b'x', &[("GNU.sparse.name", name.as_bytes())])
        .file("usr/x", b"dead");
    assert_refused(sparse, offset, name, |it| *it == Refusal::ParentDir);
}

#[test]
fn symlinks_are_not_written_through() {
    let case = Case::new();
    let absolute = case.outside().display().to_string();
    for target in [&absolute[..], "../../../../outside", "usr", ".", "out"] {
        let start = Raw::rootfs().symlink("out", target);
        let offset = start.offset();
        let through = |it: &Refusal| *it == Refusal::ThroughSymlink(String::from("\"out\""));
        let file = start.clone().file("out/canary", b"dead");
        assert_refused(file, offset, "out/canary", through);
        let dir = start.clone().dir("out/dir/");
        assert_refused(dir, offset, "out/dir/", through);
        let deep = start.clone().file("out/a/b/c", b"dead");
        assert_refused(deep, offset, "out/a/b/c", through);
        let link = start.clone().symlink("out/link", "x");
        assert_refused(link, offset, "out/link", through);
        let error = case.refused(&start.file("out/canary", b"dead").end());
        assert_eq!(error.kind(), ErrorKind::Hostile);
    }
}

#[test]
fn a_symlink_in_the_place_of_a_cached_directory() {
    // The directory is open already when it is exchanged for a symlink.
    let case = Case::new();
    let target = case.outside().display().to_string();
    let start = Raw::rootfs()
        .dir("opt/")
        .dir("opt/a/")
        .symlink("opt/a", &target);
    let offset = start.offset();
    let archive = start.file("opt/a/canary", b"dead");
    assert_refused(archive, offset, "opt/a/canary", |it| {
        matches!(it, Refusal::ThroughSymlink(_))
    });
    // Not empty: stays.
    let start = Raw::rootfs().dir("opt/").file("opt/a/file", b"x");
    let offset = start.offset();
    let archive = start.symlink("opt/a", &target);
    assert_refused(archive, offset, "opt/a", |it| {
        *it == Refusal::DirectoryInTheWay
    });
}

#[test]
fn a_file_in_the_place_of_a_symlink_replaces_it() {
    let case = Case::new();
    let canary = case.outside().join("canary").display().to_string();
    let archive = Raw::rootfs()
        .symlink("usr/x", &canary)
        .file("usr/x", b"new");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    let path = image.rootfs().join("usr/x");
    assert!(path.symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read(path).unwrap(), b"new");
}

#[test]
fn hard_links_stay_inside() {
    let case = Case::new();
    let canary = case.outside().join("canary").display().to_string();
    let outside = case.outside().display().to_string();
    let start = Raw::rootfs().symlink("out", &outside);
    let offset = start.offset();
    let target = |reason: Refusal| move |it: &Refusal| matches!(it, Refusal::LinkTarget { reason: why, .. } if **why == reason);
    for (link, reason) in [
        (&canary[..], Refusal::Absolute),
        ("../../../../outside/canary", Refusal::ParentDir),
        ("", Refusal::NoName),
        (
            "out/canary",
            Refusal::ThroughSymlink(String::from("\"out\"")),
        ),
    ] {
        let archive = match link.len() {
            0..=99 => start.clone(),
            _ => start.clone().long(b'K', link.as_bytes()),
        };
        let archive = archive.hard_link("usr/x", &link[..link.len().min(99)]);
        assert_refused(archive, offset, "usr/x", target(reason));
    }
    let missing = start.clone().hard_link("usr/x", "usr/none");
    assert_refused(missing, offset, "usr/x", |it| {
        matches!(it, Refusal::LinkMissing(_))
    });
    let directory = start.hard_link("usr/x", "etc");
    assert_refused(directory, offset, "usr/x", |it| {
        matches!(it, Refusal::LinkToDirectory(_))
    });
}

#[test]
fn a_hard_link_to_a_symlink_does_not_lead_out() {
    // Allowed, since optimised Nix stores have them; what it may not do is to reach the symlink's target.
    let case = Case::new();
    let canary = case.outside().join("canary").display().to_string();
    let start = Raw::rootfs()
        .symlink("usr/link", &canary)
        .hard_link("usr/same", "usr/link");
    let image = case
        .import(&start.clone().end(), Limits::default())
        .unwrap();
    let same = image.rootfs().join("usr/same");
    assert_eq!(same.read_link().unwrap(), Path::new(&canary));
    // Writing to either name makes a new file.
    let archive = start.file("usr/same", b"dead").end();
    let image = case.import(&archive, Limits::default()).unwrap();
    assert!(image.rootfs().join("usr/link").is_symlink());
    assert_eq!(
        std::fs::read(image.rootfs().join("usr/same")).unwrap(),
        b"dead"
    );
}

#[test]
fn a_duplicate_does_not_write_into_other_names_of_the_old_file() {
    let case = Case::new();
    let archive = Raw::rootfs()
        .file("usr/a", b"old")
        .hard_link("usr/b", "usr/a")
        .hard_link("usr/b", "usr/a")
        .hard_link("usr/a", "usr/a")
        .file("usr/a", b"newer");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    assert_eq!(
        std::fs::read(image.rootfs().join("usr/a")).unwrap(),
        b"newer"
    );
    assert_eq!(std::fs::read(image.rootfs().join("usr/b")).unwrap(), b"old");
}

#[test]
fn duplicates_later_wins() {
    let case = Case::new();
    let archive = Raw::rootfs()
        .dir("usr/d/")
        .file("usr/d/kept", b"kept")
        .dir("usr/d/")
        .dir("usr/empty/")
        .file("usr/empty", b"a file now")
        .file("usr/f", b"1")
        .dir("usr/f/")
        .symlink("usr/l", "d")
        .dir("usr/l/")
        .file("usr/l/x", b"x");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    let root = image.rootfs();
    assert_eq!(std::fs::read(root.join("usr/d/kept")).unwrap(), b"kept");
    assert_eq!(
        std::fs::read(root.join("usr/empty")).unwrap(),
        b"a file now"
    );
    assert!(root.join("usr/f").is_dir());
    assert!(root.join("usr/l").symlink_metadata().unwrap().is_dir());
    assert_eq!(names(&root.join("usr/d")), ["kept"]);
}

#[test]
fn files_and_loops_as_parents() {
    let start = Raw::rootfs().file("usr/f", b"x");
    let offset = start.offset();
    let archive = start.file("usr/f/g", b"x");
    assert_refused(archive, offset, "usr/f/g", |it| {
        *it == Refusal::NotDirectory(String::from("\"usr/f\""))
    });
    let start = Raw::rootfs().symlink("a", "b").symlink("b", "a");
    let offset = start.offset();
    let archive = start.file("a/x", b"x");
    assert_refused(archive, offset, "a/x", |it| {
        *it == Refusal::ThroughSymlink(String::from("\"a\""))
    });
}

#[test]
fn odd_names() {
    let start = Raw::rootfs();
    let offset = start.offset();
    let deep = "a/".repeat(10_000);
    let archive = start.clone().long(b'L', deep.as_bytes()).file("x", b"x");
    let case = Case::new();
    let error = case.refused(&archive.end());
    assert!(
        error.to_string().contains("longer than Linux allows"),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("byte {offset} ")));
    assert!(error.to_string().len() < 500, "{error}");

    let nul = start
        .clone()
        .pax(b'x', &[("path", b"usr/a\0b")])
        .file("usr/x", b"x");
    assert_refused(nul, offset, "usr/a\0b", |it| *it == Refusal::Nul);
    let nul = start
        .clone()
        .pax(b'x', &[("linkpath", b"usr/a\0b")])
        .symlink("usr/x", "y");
    assert_refused(nul, offset, "usr/x", |it| *it == Refusal::BadSymlink);
    let none = start.clone().symlink("usr/x", "");
    assert_refused(none, offset, "usr/x", |it| *it == Refusal::BadSymlink);
    let root = start.clone().symlink("./", "/");
    assert_refused(root, offset, "./", |it| *it == Refusal::NoName);
    let empty = start.clone().file("", b"x");
    assert_refused(empty, offset, "", |it| *it == Refusal::NoName);

    // A name that a terminal would obey is shown escaped; a newline in a name is fine.
    let archive = start.clone().file("/\x1b[2J\n", b"");
    assert_refused(archive, offset, "/\x1b[2J\n", |it| *it == Refusal::Absolute);
    let text = case
        .refused(&start.clone().file("/\x1b[2J\n", b"").end())
        .to_string();
    assert!(!text.contains(['\x1b', '\n']), "{text:?}");
    let image = case
        .import(&start.file("usr/a\nb", b"x").end(), Limits::default())
        .unwrap();
    assert!(image.rootfs().join("usr/a\nb").exists());
}

#[test]
fn deep_but_legal_paths() {
    // 2047 components: more than there are descriptors by default.
    let case = Case::new();
    let name = format!("{}x", "a/".repeat(2047));
    let archive = Raw::rootfs()
        .long(b'L', name.as_bytes())
        .file("x", b"deep")
        .long(b'L', format!("{}y", "a/".repeat(2047)).as_bytes())
        .hard_link("y", "usr/none");
    // The last entry is refused, so all of it has to be removed again, too.
    let error = case.refused(&archive.end());
    assert_eq!(error.kind(), ErrorKind::Hostile, "{error}");
}

#[test]
fn attributes_that_mean_something_to_overlayfs_are_dropped() {
    if !crate::is_root("attributes_that_mean_something_to_overlayfs_are_dropped") {
        return;
    }
    let case = Case::new();
    let archive = Raw::rootfs()
        .pax(
            b'x',
            &[
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.trusted.other", b"1"),
            ],
        )
        .dir("usr/x/");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    let found = xattrs(&image.rootfs().join("usr/x"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["trusted.other"]);
    assert_eq!(image.record.unpacked.skipped_xattrs, 1);
}

#[test]
fn devices_are_nodes_in_the_tree_and_nothing_is_opened() {
    if !crate::is_root("devices_are_nodes_in_the_tree_and_nothing_is_opened") {
        return;
    }
    let case = Case::new();
    let node = |name: &'static [u8], kind, device| Entry {
        name,
        kind,
        device,
        mode: 0o4666,
        ..Entry::default()
    };
    let archive = Raw::rootfs()
        .dir("dev/")
        .entry(&node(b"dev/kmsg", b'3', (1, 11)))
        .entry(&node(b"dev/loop7", b'4', (7, 7)))
        .entry(&node(b"dev/fifo", b'6', (0, 0)))
        // A file in the place of a device replaces it instead of being written to it.
        .file("dev/kmsg", b"not a log message");
    let image = case.import(&archive.end(), Limits::default()).unwrap();
    let lines = snapshot(&image.rootfs().join("dev"), Times::Seconds).join("\n");
    assert!(lines.contains("\"fifo\" Fifo 4666"), "{lines}");
    assert!(lines.contains("\"loop7\" BlockDevice 4666"), "{lines}");
    assert!(lines.contains("device 707"), "{lines}");
    assert!(lines.contains("\"kmsg\" RegularFile"), "{lines}");
}
