//! Everything about a tree that an unpacking must get right, as data that can be compared.

use rustix::fs::{AtFlags, CWD, FileType};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What to leave out of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Nanoseconds,
    /// Formats other than PAX have no more.
    Seconds,
    /// Of no interest.
    None,
}

/// One line per path, sorted: type, mode, owner, time, device, link target, content, attributes, other names.
pub fn snapshot(root: &Path, times: Times) -> Vec<String> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let mut first_names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut lines = Vec::new();
    for path in paths {
        let stat = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let relative = path.strip_prefix(root).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut line = format!(
            "{:?} {kind:?} {:o} {}:{}",
            relative.as_os_str(),
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
        );
        if times != Times::None {
            write!(line, " {}", stat.st_mtime).unwrap();
        }
        if times == Times::Nanoseconds {
            write!(line, ".{:09}", stat.st_mtime_nsec).unwrap();
        }
        match kind {
            FileType::RegularFile => {
                let content = std::fs::read(&path).unwrap();
                write!(line, " {} bytes {:016x}", content.len(), hash(&content)).unwrap();
            }
            FileType::Symlink => write!(line, " -> {:?}", path.read_link().unwrap()).unwrap(),
            FileType::CharacterDevice | FileType::BlockDevice => {
                write!(line, " device {:x}", stat.st_rdev).unwrap();
            }
            FileType::Directory | FileType::Fifo | FileType::Socket | FileType::Unknown => {}
        }
        for (name, value) in xattrs(&path) {
            write!(line, " {name}={value:?}").unwrap();
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let first = first_names.entry(stat.st_ino);
            write!(line, " = {:?}", first.or_insert(relative.to_owned())).unwrap();
        }
        lines.push(line);
    }
    lines
}

/// Panics with the lines that differ.
pub fn assert_same(expected: &[String], found: &[String], what: &str) {
    let missing: Vec<&String> = expected.iter().filter(|it| !found.contains(it)).collect();
    let extra: Vec<&String> = found.iter().filter(|it| !expected.contains(it)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{what}: expected\n{missing:#?}\nfound\n{extra:#?}"
    );
}

/// Extended attributes, sorted.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 1 << 16];
    let count = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut out = BTreeMap::new();
    for name in names[..count].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).unwrap();
        let mut value = vec![0u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        out.insert(name.to_string_lossy().into_owned(), value);
    }
    out
}

fn walk(path: &Path, out: &mut Vec<PathBuf>) {
    out.push(path.to_owned());
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), out);
        }
    }
}

/// FNV-1a: enough to tell files apart.
fn hash(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Names in a directory, sorted.
pub fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A path with any bytes in its last component.
pub fn odd(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}
