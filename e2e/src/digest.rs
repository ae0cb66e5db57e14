//! The digest of a directory tree: one SHA-256 over everything that a file system keeps.
//!
//! Covers, for every entry in the order of its path: path, type, mode, owner, size, content,
//! link target, device number, extended attributes (file capabilities and ACLs are such),
//! which names are hard links of one file, and the modification time of all but directories
//! (a directory's changes when something is made and removed in it again, which is no
//! change of the tree). Access and change times are left out: reading or copying sets them.
//!
//! The tree must not change meanwhile. Links are never followed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The digest of the tree at `root`, as 64 hex digits.
///
/// # Errors
/// Something in the tree cannot be read.
pub fn digest(root: &Path) -> Result<String> {
    let mut whole = Sha256::new();
    for (path, entry) in entries(root)? {
        whole.update(field(path.as_os_str().as_bytes()));
        whole.update(entry.as_bytes());
    }
    Ok(hex(&whole.finalize()))
}

/// What differs between two trees, one line for each path, for the message of a failed test.
///
/// # Errors
/// Something in the trees cannot be read.
pub fn differences(before: &Path, after: &Path) -> Result<Vec<String>> {
    let (before, after) = (entries(before)?, entries(after)?);
    let mut lines = Vec::new();
    for (path, was) in &before {
        match after.get(path) {
            None => lines.push(format!("{} is gone", path.display())),
            Some(is) if is != was => lines.push(format!("{}: {was} became {is}", path.display())),
            Some(_) => {}
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        lines.push(format!("{} is new", path.display()));
    }
    Ok(lines)
}

/// Each path below `root`, with a line that says all about it.
fn entries(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found)?;
    found.sort_by(|(left, _), (right, _)| left.cmp(right));

    // The first name of a file with several stands for all of them.
    let mut first_names: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for (path, meta) in found
        .iter()
        .filter(|(_, meta)| meta.nlink() > 1 && !meta.is_dir())
    {
        first_names
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| path.clone());
    }

    let contents = read_all(root, &found)?;
    let mut lines = BTreeMap::new();
    for ((path, meta), content) in found.into_iter().zip(contents) {
        let mut line = head(&meta);
        let _ = write!(line, "{content}");
        if let Some(first) = first_names
            .get(&(meta.dev(), meta.ino()))
            .filter(|_| !meta.is_dir())
        {
            let _ = write!(line, " same as {}", first.display());
        }
        lines.insert(path, line);
    }
    Ok(lines)
}

fn walk(root: &Path, below: &Path, found: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
    let place = root.join(below);
    let meta =
        fs::symlink_metadata(&place).with_context(|| format!("looking at {}", place.display()))?;
    let is_dir = meta.is_dir();
    found.push((below.to_owned(), meta));
    if is_dir {
        for entry in fs::read_dir(&place).with_context(|| format!("listing {}", place.display()))? {
            let entry = entry.with_context(|| format!("listing {}", place.display()))?;
            walk(root, &below.join(entry.file_name()), found)?;
        }
    }
    Ok(())
}

/// The part of an entry's line that its inode tells.
fn head(meta: &Metadata) -> String {
    let kind = meta.file_type();
    let mut line = format!("mode {:o} owner {}:{}", meta.mode(), meta.uid(), meta.gid());
    if !kind.is_dir() {
        let _ = write!(
            line,
            " mtime {}.{:09} size {}",
            meta.mtime(),
            meta.mtime_nsec(),
            meta.size()
        );
    }
    if kind.is_block_device() || kind.is_char_device() {
        let _ = write!(line, " device {:x}", meta.rdev());
    }
    line
}

/// The other part: contents, link targets, extended attributes. Reading is most of the work,
/// so it is shared among threads, each taking the next entry that nobody has taken.
fn read_all(root: &Path, found: &[(PathBuf, Metadata)]) -> Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, String)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, meta)) = found.get(index) else {
                return Ok(done);
            };
            let place = root.join(path);
            let line =
                read(&place, meta).with_context(|| format!("reading {}", place.display()))?;
            done.push((index, line));
        }
    };
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(4);
    let mut lines = vec![String::new(); found.len()];
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            for (index, line) in worker
                .join()
                .map_err(|_| anyhow!("a digest thread panicked"))??
            {
                lines[index] = line;
            }
        }
        Ok(lines)
    })
}

fn read(place: &Path, meta: &Metadata) -> Result<String> {
    let mut line = String::new();
    if meta.is_file() {
        let mut hash = Sha256::new();
        let mut file = File::open(place)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let _ = write!(line, " content {}", hex(&hash.finalize()));
    } else if meta.is_symlink() {
        let target = fs::read_link(place)?;
        let _ = write!(line, " to {}", hex(target.as_os_str().as_bytes()));
    }
    for name in attribute_names(place)? {
        let value = attribute(place, &name)?;
        let _ = write!(
            line,
            " xattr {} {}",
            String::from_utf8_lossy(&name),
            hex(&value)
        );
    }
    Ok(line)
}

fn attribute_names(place: &Path) -> Result<Vec<Vec<u8>>> {
    // 64 KiB is the kernel's limit for a list of names and for a value (xattr(7)).
    let mut buffer = vec![0; 64 * 1024];
    let length = match llistxattr(place, &mut buffer[..]) {
        Ok(length) => length,
        // A file system without attributes has none to compare.
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
    names.sort();
    Ok(names)
}

fn attribute(place: &Path, name: &[u8]) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 64 * 1024];
    let length = lgetxattr(place, name, &mut buffer[..])?;
    buffer.truncate(length);
    Ok(buffer)
}

/// With its length before it, so that no two lists of fields look alike.
fn field(bytes: &[u8]) -> Vec<u8> {
    let mut framed = u64::try_from(bytes.len())
        .unwrap_or(u64::MAX)
        .to_be_bytes()
        .to_vec();
    framed.extend_from_slice(bytes);
    framed
}

/// Lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/hostname"), "oak\n").unwrap();
        fs::write(dir.path().join("etc/twin"), "twin\n").unwrap();
        symlink("/etc/hostname", dir.path().join("link")).unwrap();
        dir
    }

    /// What the digest becomes when `change` is done to the sample.
    fn changes(change: impl FnOnce(&Path)) -> bool {
        let dir = sample();
        let before = digest(dir.path()).unwrap();
        assert_eq!(before, digest(dir.path()).unwrap());
        change(dir.path());
        before != digest(dir.path()).unwrap()
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        let mode = |root: &Path| {
            fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
        };
        assert!(changes(mode));
        assert!(changes(|root| fs::write(root.join("new"), "").unwrap()));
        assert!(changes(
            |root| fs::remove_file(root.join("etc/hostname")).unwrap()
        ));
        assert!(changes(|root| fs::rename(
            root.join("link"),
            root.join("knil")
        )
        .unwrap()));
        assert!(changes(|root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("/etc/twin", root.join("link")).unwrap();
        }));
        assert!(changes(|root| {
            let file = File::options()
                .write(true)
                .open(root.join("etc/hostname"))
                .unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        }));
    }

    #[test]
    fn content_is_seen_even_with_size_and_time_kept() {
        assert!(changes(|root| {
            let path = root.join("etc/hostname");
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "elm\n").unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }));
    }

    #[test]
    fn hard_links_are_seen() {
        assert!(changes(|root| {
            let modified = fs::metadata(root.join("etc/twin"))
                .unwrap()
                .modified()
                .unwrap();
            fs::write(root.join("etc/other"), "twin\n").unwrap();
            let other = File::options()
                .write(true)
                .open(root.join("etc/other"))
                .unwrap();
            other.set_modified(modified).unwrap();
        }));
        let dir = sample();
        fs::write(dir.path().join("etc/other"), "twin\n").unwrap();
        let apart = differences(dir.path(), dir.path()).unwrap();
        assert!(apart.is_empty());
        let before = digest(dir.path()).unwrap();
        fs::remove_file(dir.path().join("etc/other")).unwrap();
        fs::hard_link(dir.path().join("etc/twin"), dir.path().join("etc/other")).unwrap();
        assert_ne!(before, digest(dir.path()).unwrap());
    }

    #[test]
    fn a_file_made_and_removed_again_is_no_change() {
        assert!(!changes(|root| {
            fs::write(root.join("etc/tmp"), "").unwrap();
            fs::remove_file(root.join("etc/tmp")).unwrap();
        }));
    }

    #[test]
    fn differences_name_the_paths() {
        let (before, after) = (sample(), sample());
        fs::remove_file(after.path().join("link")).unwrap();
        fs::write(after.path().join("etc/added"), "").unwrap();
        let lines = differences(before.path(), after.path()).unwrap().join("\n");
        assert!(lines.contains("link is gone"), "{lines}");
        assert!(lines.contains("etc/added is new"), "{lines}");
    }
}
