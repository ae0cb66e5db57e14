//! Fuzzes unpacking: whatever the bytes, no panic, and nothing outside of the tree may change.
//!
//! Header checksums are made right first: otherwise nearly every input would end at them. Runs best with the
//! working directories on a tmpfs (`TMPDIR=/dev/shm`), and as root, where devices and owners are tried too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_image::{Limits, Silent, remove_tree, unpack_tar};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::LazyLock;

static WORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let work = std::env::temp_dir().join(format!("repot-fuzz-{}", std::process::id()));
    fs::create_dir_all(work.join("outside")).unwrap();
    fs::write(work.join("outside/canary"), "alive").unwrap();
    work
});

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        max_entries: 64,
        max_unpacked_bytes: 1 << 20,
        max_header_bytes: 1 << 16,
        ..Limits::default()
    };
    let archive = with_checksums(bytes);
    let work: &PathBuf = &WORK;
    fs::create_dir(work.join("tree")).unwrap();
    let root = OwnedFd::from(File::open(work.join("tree")).unwrap());
    let _ = unpack_tar(&archive[..], root, work, &limits, &Silent);
    let dir = File::open(work).unwrap();
    remove_tree(dir.as_fd(), OsStr::new("tree"), work).unwrap();
    let names = |path: &str| fs::read_dir(work.join(path)).unwrap().count();
    assert_eq!((names(""), names("outside")), (1, 1));
    assert_eq!(fs::read(work.join("outside/canary")).unwrap(), b"alive");
});

/// Puts the right checksum into every block that has the magic of ustar or GNU tar.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}
