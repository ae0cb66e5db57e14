//! Finding the root file system in what was unpacked.
//!
//! Tarballs hold it at the top, below one directory (`debian-12/`, `rootfs/` of LXD, Incus and rkt, `x86_64/` of
//! some builders), or, for archives of other kinds, not at all. What decides is what a directory has in it.

use crate::beneath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Result;

/// Where the root file system is in an unpacked tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// At this path, empty for the top.
    At(Vec<u8>),
    /// Nowhere; what is there instead.
    Missing(String),
}

/// A directory with one of these is a root file system: the last two are those of NixOS and Guix System, whose
/// other directories are made at first boot.
const MARKS: [&[u8]; 6] = [b"usr", b"bin", b"sbin", b"init", b"nix/store", b"gnu/store"];

/// How deep to look: `rootfs`, `image/rootfs`.
const MAX_DEPTH: usize = 2;
/// How many directories to look into: an archive of a home directory has thousands.
const MAX_DIRECTORIES: usize = 256;

/// Looks at the top first, then level by level; within a level the candidate must be the only one.
pub(crate) fn find_rootfs(top: BorrowedFd<'_>) -> Result<Layout> {
    if is_rootfs(top) {
        return Ok(Layout::At(Vec::new()));
    }
    let names = entries(top, b"")?;
    if let Some(other) = other_kind(top) {
        return Ok(Layout::Missing(String::from(other)));
    }
    let mut level = vec![Vec::new()];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for path in &level {
            for (name, is_dir) in entries(top, path)? {
                if is_dir && next.len() < MAX_DIRECTORIES {
                    let mut child: Vec<u8> = path.clone();
                    if !child.is_empty() {
                        child.push(b'/');
                    }
                    child.extend_from_slice(&name);
                    next.push(child);
                }
            }
        }
        let mut found = Vec::new();
        for path in &next {
            if is_rootfs(beneath::open_dir(top, path)?.as_fd()) {
                found.push(path.clone());
            }
        }
        match found.len() {
            0 => level = next,
            1 => return Ok(Layout::At(found.swap_remove(0))),
            _ => {
                let names: Vec<String> = found.iter().map(|path| shown(path)).collect();
                let names = listed(names);
                return Ok(Layout::Missing(format!("there are several: {names}")));
            }
        }
    }
    let names = names.iter().map(|(name, _)| shown(name)).collect();
    Ok(Layout::Missing(format!(
        "no directory in it has usr, bin or sbin; at the top are {}",
        listed(names)
    )))
}

/// Whether this directory is itself a root file system.
pub(crate) fn is_rootfs(dir: BorrowedFd<'_>) -> bool {
    MARKS.iter().any(|mark| {
        // Through `nix`, which might be a symlink out of the tree: looked at, not followed.
        let (parent, name) = match mark.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&mark[..slash], &mark[slash + 1..]),
            None => (&b""[..], *mark),
        };
        beneath::open_dir(dir, parent).is_ok_and(|parent| exists(parent.as_fd(), name))
    })
}

fn exists(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Archives that hold an image in another form.
fn other_kind(top: BorrowedFd<'_>) -> Option<&'static str> {
    (exists(top, b"metadata.yaml") && !exists(top, b"rootfs")).then_some(
        "this is the metadata half of an LXD or Incus image; the root file system is in the other file: \
         name that, or the directory with both",
    )
}

/// Names in a directory, sorted, and whether each is a directory.
fn entries(top: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
    let fd: OwnedFd = match beneath::open(top, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => fd,
        // Not ours to look into, for an import without root: no root file system either.
        Err(rustix::io::Errno::ACCESS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut out = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let mut file_type = entry.file_type();
        if file_type == FileType::Unknown {
            // Not every file system tells it here.
            file_type = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(file_type, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        let is_dir = file_type == FileType::Directory;
        out.push((name.to_vec(), is_dir));
    }
    out.sort();
    Ok(out)
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

fn listed(names: Vec<String>) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    if text.is_empty() {
        text.push_str("no entries");
    }
    text
}
