//! Fuzzes what `repot fix --undo` makes of a journal: whatever the bytes, no panic, and nothing outside of the tree may change.
//!
//! Runs best with the working directories on a tmpfs (`TMPDIR=/dev/shm`), and as root, where devices and owners are tried too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::Root;
use repot_rootfs::fix::{Force, Journal, parse, undo};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::LazyLock;

static WORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let work = std::env::temp_dir().join(format!("repot-fuzz-journal-{}", std::process::id()));
    fs::create_dir_all(work.join("outside")).unwrap();
    fs::write(work.join("outside/canary"), "alive").unwrap();
    work
});

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes);
    let work: &PathBuf = &WORK;
    let tree = work.join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/a"), "a").unwrap();
    symlink("../../outside", tree.join("etc/out")).unwrap();
    symlink(work.join("outside/canary"), tree.join("b")).unwrap();
    let root = Root::open(&tree).unwrap();
    let fixes = work.join("fixes");
    drop(Journal::open(&fixes, &root).unwrap());
    let dir = fs::read_dir(&fixes).unwrap().next().unwrap().unwrap();
    fs::write(dir.path().join("journal"), bytes).unwrap();
    fs::write(dir.path().join("old/0"), "kept").unwrap();
    if let Ok(Some(journal)) = Journal::open_existing(&fixes, &root) {
        let _ = undo(&root, journal, Force::Yes);
    }
    fs::remove_dir_all(&fixes).unwrap();
    fs::remove_dir_all(&tree).unwrap();
    let names = |path: &str| fs::read_dir(work.join(path)).unwrap().count();
    assert_eq!((names(""), names("outside")), (1, 1));
    assert_eq!(fs::read(work.join("outside/canary")).unwrap(), b"alive");
});
