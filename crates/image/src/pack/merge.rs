//! A tree with layers over it, seen as overlayfs shows it (overlayfs.rst), without a mount and so without privileges.
//!
//! Directories of one name are merged, and the topmost lends its attributes; a character device with number 0/0 hides what is
//! below it, and so does a directory marked as opaque. fuse-overlayfs has marks of its own besides: files called `.wh.NAME`.

use super::xattrs::{Xattrs, fd_xattrs, node_xattrs};
use crate::beneath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::{Errno, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What has made a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// repot, just now: what is in it gets the time of what it covers, or that of the export, so that the same adaptations give the
    /// same bytes.
    Repot,
    /// The kernel's overlayfs.
    Kernel,
    /// fuse-overlayfs.
    FuseOverlayfs,
}

/// A directory in overlayfs' form that is laid over a tree.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The directory.
    pub root: BorrowedFd<'a>,
    /// What has made it.
    pub made_by: Maker,
}

/// A tree and what lies over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) root: BorrowedFd<'a>,
    /// Its path, for messages.
    pub(crate) place: &'a Path,
    /// Lowest first.
    pub(crate) over: &'a [Layer<'a>],
    /// Of what is new in a generated layer, in seconds since 1970.
    pub(crate) time: u64,
    pub(crate) holes: Holes,
}

/// What is written of files with holes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Holes {
    /// Where they are, as GNU tar does.
    #[default]
    Kept,
    /// Zeros. Layers of images have no holes (OCI image specification 1.1, layer.md, "Sparse files": SHOULD NOT): Docker and Podman
    /// load them, but can neither save nor push the image again, since they put the layer together from the unpacked files.
    Filled,
}

/// One layer's directory.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) fd: OwnedFd,
    /// 0 is the tree itself.
    pub(super) layer: usize,
    /// Whether names in it can be marks.
    pub(super) has_named_marks: bool,
}

impl Part {
    /// Without what overlayfs keeps for itself in a layer.
    pub(super) fn own_xattrs(&self, mut xattrs: Xattrs) -> Xattrs {
        if self.layer > 0 {
            xattrs.retain(|(name, _)| !is_overlay(name));
        }
        xattrs
    }
}

fn is_overlay(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Attributes of overlayfs, the second kind for mounts with `userxattr`, the third those of fuse-overlayfs.
const PREFIXES: [&[u8]; 3] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
];

/// Hides what has the rest of the name, below (containers/storage, the form of AUFS).
const NAMED_WHITEOUT: &[u8] = b".wh.";
/// Makes the directory that it is in opaque.
const NAMED_OPAQUE: &[u8] = b".wh..wh..opq";

impl Tree<'_> {
    /// The top directories, the tree's own first.
    pub(super) fn tops(&self) -> Result<Vec<Part>> {
        let over = self
            .over
            .iter()
            .map(|layer| (layer.root, layer.made_by == Maker::FuseOverlayfs));
        std::iter::once((self.root, false))
            .chain(over)
            .enumerate()
            .map(|(layer, (root, has_named_marks))| {
                let fd = beneath::open(root, b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
                Ok(Part {
                    fd,
                    layer,
                    has_named_marks,
                })
            })
            .collect()
    }

    /// The one of them whose attributes show. A generated layer's top is just where it was made.
    pub(super) fn own_top(&self, tops: &[Part]) -> usize {
        tops.iter()
            .rposition(|part| !self.is_generated(part.layer))
            .unwrap_or(0)
    }

    fn is_generated(&self, layer: usize) -> bool {
        layer
            .checked_sub(1)
            .and_then(|layer| self.over.get(layer))
            .is_some_and(|layer| layer.made_by == Maker::Repot)
    }
}

/// What a directory holds, sorted: for each name the places in `parts` that have it, several only where all are directories.
pub(super) fn children(parts: &[Part]) -> Result<Vec<(Vec<u8>, Vec<usize>)>> {
    let mut found: BTreeMap<Vec<u8>, (bool, Vec<usize>)> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        if part.layer > 0 && is_opaque(part)? {
            found.clear();
        }
        for entry in Dir::read_from(&part.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if part.has_named_marks
                && let Some(hidden) = name.strip_prefix(NAMED_WHITEOUT)
            {
                // What the layer itself has of that name was made later.
                if found
                    .get(hidden)
                    .is_some_and(|(_, parts)| !parts.contains(&at))
                {
                    found.remove(hidden);
                }
                continue;
            }
            // Looked at only where it makes a difference: most directories are the tree's alone.
            let alone = parts.len() == 1 && part.layer == 0;
            let stat = if alone {
                None
            } else {
                Some(rustix::fs::statat(
                    &part.fd,
                    name,
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            };
            if let (1.., Some(stat)) = (part.layer, &stat)
                && (is_whiteout(stat) || is_marked_whiteout(part, name, stat)?)
            {
                found.remove(name);
                continue;
            }
            let is_dir = stat.is_some_and(|stat| kind(&stat) == FileType::Directory);
            let slot = found.entry(name.to_vec()).or_default();
            if !(is_dir && slot.0) {
                slot.1.clear();
            }
            slot.0 = is_dir;
            slot.1.push(at);
        }
    }
    let found = found.into_iter();
    Ok(found.map(|(name, (_, parts))| (name, parts)).collect())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// overlayfs.rst, "whiteouts and opaque directories".
fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The other form, for hosts that make no such device: an empty file with an attribute (overlayfs.rst, "Nesting overlayfs mounts").
fn is_marked_whiteout(part: &Part, name: &[u8], stat: &Stat) -> Result<bool> {
    if kind(stat) != FileType::RegularFile || stat.st_size != 0 {
        return Ok(false);
    }
    let is_mark = |name: &[u8]| {
        let own = PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix));
        own == Some(b"whiteout")
    };
    let xattrs = node_xattrs(&part.fd, name)?;
    Ok(xattrs.iter().any(|(name, _)| is_mark(name)))
}

/// Whether a layer's directory hides all below it. A directory that was renamed keeps its content under another name below, which
/// cannot be put together here.
fn is_opaque(part: &Part) -> Result<bool> {
    let mut is_opaque = part.has_named_marks
        && rustix::fs::statat(&part.fd, NAMED_OPAQUE, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    for (name, value) in fd_xattrs(part.fd.as_fd())? {
        let own = PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix));
        match own {
            Some(b"opaque") => is_opaque |= value == b"y",
            Some(b"redirect") => return Err(Errno::OPNOTSUPP),
            Some(_) | None => {}
        }
    }
    Ok(is_opaque)
}

/// The time that something in a generated layer gets; `None` if it keeps its own. `all` are the directories of all layers that
/// may have it, `parts` those that show.
pub(super) fn time(
    tree: &Tree<'_>,
    all: &[Part],
    parts: &[&Part],
    name: &[u8],
) -> Option<(i64, u32)> {
    let top = parts.last()?;
    if !tree.is_generated(top.layer) {
        return None;
    }
    let below = all.iter().rev().filter(|part| part.layer < top.layer);
    let covered = below
        .filter(|part| !tree.is_generated(part.layer))
        .find_map(|part| rustix::fs::statat(&part.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok());
    Some(match covered {
        Some(stat) => super::mtime(&stat),
        None => (i64::try_from(tree.time).unwrap_or(0), 0),
    })
}
