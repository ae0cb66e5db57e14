//! The store under stress: the same archive twice, at once, killed half-way, on a full disk, and removed.

use crate::raw::{Entry, Raw};
use crate::tree::{Times, names, snapshot};
use repot_image::{
    Durability, Error, ErrorKind, ImageId, ImportOptions, Imported, Phase, Silent, Snapshot,
    SourceRef, Store,
};
use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OPTIONS: ImportOptions = ImportOptions {
    limits: repot_image::Limits {
        max_entries: 1 << 20,
        max_unpacked_bytes: 1 << 40,
        max_header_bytes: 1 << 20,
        max_xattr_bytes: 1 << 16,
        max_decoder_bytes: 1 << 28,
    },
    durability: Durability::Record,
};

fn archive(megabytes: usize) -> Vec<u8> {
    let mut archive = Raw::rootfs();
    for number in 0..megabytes * 4 {
        archive = archive.file(&format!("usr/{number}"), &[7; 256 << 10]);
    }
    archive.end()
}

fn import(state: &Path, file: &Path) -> Result<Imported, Error> {
    let store = Store::open(state).unwrap();
    store.import(&SourceRef::File(file.to_owned()), &OPTIONS, &Silent)
}

/// Not a test of its own: what other tests run as another process.
#[test]
fn child() {
    let (Some(state), Some(source)) = (
        std::env::var_os("REPOT_TEST_STATE"),
        std::env::var_os("REPOT_TEST_SOURCE"),
    ) else {
        return;
    };
    let store = Store::open(Path::new(&state)).unwrap();
    let source = SourceRef::parse(&source).unwrap();
    store.import(&source, &OPTIONS, &Silent).unwrap();
}

fn spawn_child(state: &Path, source: &Path, stdin: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::child", "--nocapture"])
        .env("REPOT_TEST_STATE", state)
        .env("REPOT_TEST_SOURCE", source)
        .stdin(stdin)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn the_same_archive_twice_is_one_image() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("a.tar");
    std::fs::write(&file, archive(2)).unwrap();
    let first = import(temp.path(), &file).unwrap();
    assert!(first.is_new);
    let before = snapshot(&first.image.rootfs(), Times::Nanoseconds);

    // Under another name; it is read, but not unpacked.
    let copy = temp.path().join("b.tar");
    std::fs::copy(&file, &copy).unwrap();
    let hashed = Cell::new(0);
    let watch = |now: &Snapshot| match now.phase {
        Phase::Hashing => hashed.set(now.read_bytes),
        Phase::Unpacking | Phase::Syncing | Phase::Packing => panic!("{now:?}"),
    };
    let store = Store::open(temp.path()).unwrap();
    let second = store
        .import(&SourceRef::File(copy), &OPTIONS, &watch)
        .unwrap();
    assert!(!second.is_new);
    assert_eq!(second.image, first.image);
    assert_eq!(hashed.get(), first.image.record.source_bytes);
    assert_eq!(before, snapshot(&first.image.rootfs(), Times::Nanoseconds));

    // Of the same size but different: another image.
    let other = temp.path().join("c.tar");
    let mut bytes = archive(2);
    bytes[2000] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    let mut header = [0; 512];
    header.copy_from_slice(&bytes[1536..2048]);
    crate::raw::checksum(&mut header);
    bytes[1536..2048].copy_from_slice(&header);
    std::fs::write(&other, &bytes).unwrap();
    let third = import(temp.path(), &other).unwrap();
    assert!(third.is_new);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn images_are_found_by_prefix() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("a.tar");
    std::fs::write(&file, archive(1)).unwrap();
    let image = import(temp.path(), &file).unwrap().image;
    let store = Store::open(temp.path()).unwrap();
    let id = image.id().to_string();
    for prefix in [&id[..1], &id[..12], &id, &format!("sha256:{id}")] {
        assert_eq!(store.get(prefix).unwrap(), image);
    }
    for prefix in ["", "sha256:", "../", "xyz", ".staging", &format!("{id}0")] {
        let error = store.get(prefix).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    // A second image that begins alike.
    let digit = if id.ends_with('0') { '1' } else { '0' };
    let twin = format!("{}{digit}", &id[..63]);
    let images = temp.path().join("images");
    std::fs::create_dir(images.join(&twin)).unwrap();
    let error = store.get(&id[..12]).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    // It has no record: not there, and in no list. With a bad one, it is an error in the list.
    assert_eq!(store.get(&twin).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.list().unwrap().len(), 1);
    std::fs::write(images.join(&twin).join("image.json"), "{").unwrap();
    let list = store.list().unwrap();
    assert!(list[0].is_ok());
    assert!(matches!(list[1], Err(Error::Record { .. })));
}

#[test]
fn the_store_is_closed_to_others() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    std::fs::create_dir_all(state.join("images")).unwrap();
    let loose = std::fs::Permissions::from_mode(0o2777);
    std::fs::set_permissions(state.join("images"), loose).unwrap();
    let file = temp.path().join("a.tar");
    std::fs::write(&file, Raw::rootfs().file("usr/x", b"x").end()).unwrap();
    let image = import(&state, &file).unwrap().image;
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(state.join("images")), 0o700);
    // Nothing of the set-gid bit that was there is inherited.
    assert_eq!(mode(image.rootfs().join("usr")), 0o755);
    assert_eq!(mode(image.rootfs()), 0o755);
}

#[test]
fn at_once_in_threads_and_processes() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let file = temp.path().join("a.tar");
    std::fs::write(&file, archive(8)).unwrap();
    let mut children: Vec<Child> = (0..3)
        .map(|_| spawn_child(&state, &file, Stdio::null()))
        .collect();
    let imported: Vec<Imported> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| import(&state, &file).unwrap()))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert!(imported.iter().filter(|it| it.is_new).count() <= 1);
    let id = imported[0].image.id().to_string();
    assert_eq!(names(&state.join("images")), [String::from(".lock"), id]);
    assert_eq!(names(&imported[0].image.rootfs().join("usr")).len(), 32);
}

#[test]
fn what_a_killed_import_leaves_is_collected() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let bytes = archive(8);
    let mut child = spawn_child(&state, Path::new("-"), Stdio::piped());
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
    // Until some of it is on the disk.
    let images = state.join("images");
    let deadline = Instant::now() + Duration::from_secs(60);
    let staged = loop {
        let staging = match images.exists() {
            true => names(&images).into_iter().find(|it| it.contains("staging")),
            false => None,
        };
        let usr = staging.as_ref().map(|it| images.join(it).join("tree/usr"));
        if usr.is_some_and(|usr| usr.exists() && names(&usr).len() > 4) {
            break staging.unwrap();
        }
        assert!(Instant::now() < deadline, "nothing was unpacked");
        std::thread::sleep(Duration::from_millis(5));
    };
    // While its owner lives it is left alone.
    let store = Store::open(&state).unwrap();
    assert_eq!(store.collect().unwrap(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(pipe);
    assert_eq!(names(&images), [String::from(".lock"), staged]);
    assert!(store.list().unwrap().is_empty());
    // The next import has nothing to do with it, and removes it.
    let file = temp.path().join("a.tar");
    std::fs::write(&file, Raw::rootfs().end()).unwrap();
    let image = import(&state, &file).unwrap().image;
    assert_eq!(
        names(&images),
        [String::from(".lock"), image.id().to_string()]
    );
}

#[test]
fn staging_directories_killed_at_other_moments() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let images = temp.path().join("images");
    // Before there was a lock; while being removed; and something that is no directory.
    std::fs::create_dir(images.join(".staging-1-a")).unwrap();
    std::fs::create_dir_all(images.join(".staging-1-b/tree/usr")).unwrap();
    std::fs::write(images.join(".staging-1-b/lock"), "").unwrap();
    std::fs::write(images.join(".staging-1-c"), "").unwrap();
    assert_eq!(store.collect().unwrap(), 3);
    assert_eq!(names(&images), [".lock"]);
}

#[test]
fn without_root() {
    if !crate::is_root("without_root") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    std::fs::create_dir(&state).unwrap();
    for path in [temp.path(), &state] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    // A copy, since this program may be where only root can go.
    let program = temp.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let file = temp.path().join("a.tar");
    let entry = |name: &'static [u8], kind, mode, uid| Entry {
        name,
        kind,
        mode,
        uid,
        device: (1, 3),
        ..Entry::default()
    };
    let archive = Raw::default()
        .entry(&entry(b"tree/usr/", b'5', 0o555, 0))
        .entry(&entry(b"tree/usr/closed/", b'5', 0o000, 65534))
        .entry(&entry(b"tree/usr/closed/file", b'0', 0o000, 65534))
        .entry(&entry(b"tree/null", b'3', 0o666, 65534))
        .hard_link("tree/zero", "tree/null")
        .entry(&entry(b"tree/fifo", b'6', 0o600, 65534))
        .entry(&entry(b"tree/", b'5', 0o555, 65534));
    std::fs::write(&file, archive.end()).unwrap();
    let run = |source: &Path| {
        let mut command = Command::new(&program);
        command
            .args(["--exact", "store::child", "--nocapture"])
            .env("REPOT_TEST_STATE", &state)
            .env("REPOT_TEST_SOURCE", source)
            .stdout(Stdio::null())
            .uid(65534)
            .gid(65534);
        assert!(command.status().unwrap().success());
    };
    run(&file);
    let store = Store::open(&state).unwrap();
    let image = store.list().unwrap().remove(0).unwrap();
    let report = &image.record.unpacked;
    assert_eq!(report.skipped_devices, 2);
    assert_eq!((report.files, report.fifos), (1, 1));
    // Two directories and the root's group.
    assert!(report.unowned > 0);
    assert_eq!(report.warnings().len(), 2, "{:?}", report.warnings());
    let mode = |path: &str| {
        let path = image.rootfs().join(path);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode(""), mode("usr"), mode("usr/closed")),
        (0o555, 0o555, 0)
    );
    // Unreadable directories do not keep what was killed from being collected.
    let dir = state.join("images").join(image.id().as_str());
    std::fs::rename(dir, state.join("images/.staging-1-a")).unwrap();
    std::fs::write(&file, Raw::rootfs().end()).unwrap();
    run(&file);
    let left = names(&state.join("images"));
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A small tmpfs, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path, options: &std::ffi::CStr) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, options).ok()?;
        Some(Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let file = temp.path().join("a.tar");
    for (options, bytes) in [
        // Told by the size in a header; found out at the last page; out of inodes.
        (c"size=4m", archive(8)),
        (c"size=2m", archive(2)),
        (c"nr_inodes=20", archive(8)),
    ] {
        let Some(_mount) = Small::mount(&state, options) else {
            crate::is_root("a_full_disk");
            return;
        };
        std::fs::write(&file, &bytes).unwrap();
        let error = import(&state, &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{options:?}: {error}");
        assert_eq!(names(&state.join("images")), [".lock"]);
        // What fits still does.
        std::fs::write(&file, Raw::rootfs().end()).unwrap();
        import(&state, &file).unwrap();
    }
}

#[test]
fn removal_and_locks() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("a.tar");
    std::fs::write(&file, archive(1)).unwrap();
    let image = import(temp.path(), &file).unwrap().image;
    let store = Store::open(temp.path()).unwrap();
    let id = image.id();
    let first = store.lock(id).unwrap();
    let second = store.lock(id).unwrap();
    assert!(matches!(store.remove(id), Err(Error::InUse(_))));
    drop(first);
    assert!(matches!(store.remove(id), Err(Error::InUse(_))));
    drop(second);
    store.remove(id).unwrap();
    assert_eq!(names(&temp.path().join("images")), [".lock"]);
    for error in [
        store.remove(id).unwrap_err(),
        store.lock(id).unwrap_err(),
        store.get(id.as_str()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    // And back again.
    assert!(import(temp.path(), &file).unwrap().is_new);
    let none = ImageId::parse(&"0".repeat(64)).unwrap();
    assert!(matches!(store.remove(&none), Err(Error::NoImage(_))));
}
