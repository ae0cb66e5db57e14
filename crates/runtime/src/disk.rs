//! How much of a disk a machine's writes take. The machine may change them meanwhile, so no path is followed twice: each
//! directory is opened in the one before it, and no symlink.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Directories deeper than this are not counted: each level holds a descriptor.
const DEPTH: u32 = 200;

/// Bytes that the files below a directory take, those with several names counted once. `None`: it cannot be read.
pub(crate) fn bytes_below(path: &Path) -> Option<u64> {
    let dir = rustix::fs::open(path, FLAGS, Mode::empty()).ok()?;
    let mut seen = HashSet::new();
    Some(sum(&dir, &mut seen, DEPTH))
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn sum(dir: &OwnedFd, seen: &mut HashSet<u64>, depth: u32) -> u64 {
    let Ok(entries) = Dir::read_from(dir) else {
        return 0;
    };
    let entries = entries
        .flatten()
        .filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
    entries
        .map(|entry| {
            let name = entry.file_name();
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                return 0;
            };
            if stat.st_nlink > 1 && !is_dir(&stat) && !seen.insert(stat.st_ino) {
                return 0;
            }
            let below = match is_dir(&stat) && depth > 0 {
                true => open_in(dir.as_fd(), name).map_or(0, |dir| sum(&dir, seen, depth - 1)),
                false => 0,
            };
            // st_blocks counts 512 bytes, whatever the file system's blocks are (inode(7)).
            u64::try_from(stat.st_blocks).unwrap_or(0) * 512 + below
        })
        .sum()
}

fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn open_in(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Option<OwnedFd> {
    rustix::fs::openat(dir, name, FLAGS, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_count_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), vec![1u8; 1 << 20]).unwrap();
        let before = bytes_below(dir.path()).unwrap();
        assert!((1 << 20..2 << 20).contains(&before), "{before}");
        std::fs::hard_link(deep.join("file"), deep.join("other")).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).unwrap();
        let after = bytes_below(dir.path()).unwrap();
        assert!(after < before + (1 << 16), "{before} {after}");
        assert_eq!(bytes_below(&dir.path().join("missing")), None);
    }
}
