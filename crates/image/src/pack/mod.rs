//! From a directory to a tar archive: for `export`, and for importing a directory, which is a pack and an unpack.
//!
//! Everything is kept that a tree can have: owners, modes, times to the nanosecond, extended attributes, hard
//! links, devices, holes. Sockets are left out, as by every tar. The archive is deterministic: entries sorted by
//! name, no access times, no user names. The tree may belong to somebody hostile: it is walked by descriptors.

pub(crate) mod header;
mod merge;
pub(crate) mod sparse;
mod xattrs;

pub(crate) use merge::{Holes, Tree};
pub use merge::{Layer, Maker};

use crate::archive::BLOCK;
use crate::beneath;
use crate::error::{Error, Result};
use header::{Entry, encode};
use merge::Part;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use sparse::{extents, sparse_map};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use xattrs::{fd_xattrs, node_xattrs};

/// What a packing did, and what it left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackReport {
    /// Entries written.
    pub entries: u64,
    /// Sockets, which an archive cannot hold.
    pub skipped_sockets: u64,
    /// Directories on which something is mounted: written, but without what is in them.
    pub skipped_mounts: Vec<PathBuf>,
    /// Files that changed while they were read.
    pub changed: u64,
}

/// Writes the tree in `root` as a tar archive in PAX format. `place` is its path for messages.
///
/// # Errors
/// [`Error::Store`] if something in the tree cannot be read, [`Error::Write`] if `out` takes no more.
pub fn pack_tree(root: BorrowedFd<'_>, place: &Path, out: &mut dyn Write) -> Result<PackReport> {
    pack_without(root, place, None, out)
}

/// The same, but without what is in one directory, told by device and inode.
pub(crate) fn pack_without(
    root: BorrowedFd<'_>,
    place: &Path,
    without: Option<(u64, u64)>,
    out: &mut dyn Write,
) -> Result<PackReport> {
    let tree = Tree {
        root,
        place,
        over: &[],
        time: 0,
        holes: Holes::Kept,
    };
    let report = pack_members(&tree, b"./", without, out)?;
    out.write_all(&END).map_err(write_error)?;
    out.flush().map_err(write_error)?;
    Ok(report)
}

/// What ends an archive: two blocks of zeros.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The members of an archive without its end. `top` is what the tree's own directory is called in it, with a slash at the
/// end: `./`, or `rootfs/` where an archive holds more than a tree.
pub(crate) fn pack_members(
    tree: &Tree<'_>,
    top: &[u8],
    without: Option<(u64, u64)>,
    out: &mut dyn Write,
) -> Result<PackReport> {
    let mut packer = Packer {
        out,
        tree,
        top_bytes: top.len(),
        links: HashMap::new(),
        without,
        report: PackReport::default(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let dirs = tree
        .tops()
        .map_err(|errno| packer.failed("open", top, errno))?;
    let own = tree.own_top(&dirs);
    let stat = dirs
        .get(own)
        .map(|dir| rustix::fs::fstat(&dir.fd))
        .unwrap_or(Err(Errno::NOENT))
        .map_err(|errno| packer.failed("look at", top, errno))?;
    packer.directory(&dirs, own, top, &stat)?;
    Ok(packer.report)
}

const BLOCK_BYTES: u64 = 512;
const BUFFER_BYTES: usize = 256 << 10;
/// Longer paths cannot be unpacked again (`PATH_MAX`), and their depth would use up all descriptors.
const MAX_PATH: usize = 4095;

struct Packer<'a> {
    out: &'a mut dyn Write,
    tree: &'a Tree<'a>,
    /// Length of what every name in the archive begins with.
    top_bytes: usize,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    without: Option<(u64, u64)>,
    report: PackReport,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    /// A directory and everything in it, merged. `path` ends with a slash; `own` is the place in `dirs` of the one whose
    /// attributes show.
    fn directory(&mut self, dirs: &[Part], own: usize, path: &[u8], stat: &Stat) -> Result<()> {
        let Some(top) = dirs.get(own) else {
            return Ok(());
        };
        let xattrs = fd_xattrs(top.fd.as_fd()).map_err(|errno| self.failed("read", path, errno))?;
        self.entry(&Entry {
            type_flag: b'5',
            xattrs: top.own_xattrs(xattrs),
            ..entry(path, stat)
        })?;
        if self.without == Some((stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let children = merge::children(dirs).map_err(|errno| self.failed("read", path, errno))?;
        for (name, parts) in children {
            let child = [path, &name[..]].concat();
            if child.len() > MAX_PATH {
                return Err(self.failed("pack", path, Errno::NAMETOOLONG));
            }
            let parts: Vec<&Part> = parts.iter().filter_map(|at| dirs.get(*at)).collect();
            self.child(dirs, &parts, &name, &child)?;
        }
        Ok(())
    }

    /// Something in a directory. `parts` are the layers' directories that have it; if it is several, they all have a directory
    /// there. `all` are those of all layers.
    fn child(&mut self, all: &[Part], parts: &[&Part], name: &[u8], path: &[u8]) -> Result<()> {
        let Some(Part { fd: parent, .. }) = parts.last() else {
            return Ok(());
        };
        let mut stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.report.changed += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("look at", path, errno)),
        };
        let time = merge::time(self.tree, all, parts, name);
        if let Some((seconds, nanoseconds)) = time {
            stat.st_mtime = seconds;
            stat.st_mtime_nsec = nanoseconds.into();
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.child_directory(parts, name, path, &stat);
        }
        if kind == FileType::Socket {
            self.report.skipped_sockets += 1;
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let first = self.links.get(&(stat.st_dev, stat.st_ino)).cloned();
            if let Some(first) = first {
                return self.entry(&Entry {
                    type_flag: b'1',
                    link: &first,
                    ..entry(path, &stat)
                });
            }
            let id = (stat.st_dev, stat.st_ino);
            self.links.insert(id, path.to_vec());
        }
        if kind == FileType::RegularFile {
            return self.file(parts, name, path, time);
        }
        let xattrs = node_xattrs(parent, name).map_err(|errno| self.failed("read", path, errno))?;
        let mut target = Vec::new();
        if kind == FileType::Symlink {
            let read = rustix::fs::readlinkat(parent, name, Vec::new());
            target = read
                .map_err(|errno| self.failed("read", path, errno))?
                .into_bytes();
        }
        self.entry(&Entry {
            type_flag: match kind {
                FileType::Symlink => b'2',
                FileType::CharacterDevice => b'3',
                FileType::BlockDevice => b'4',
                FileType::Fifo
                | FileType::RegularFile
                | FileType::Directory
                | FileType::Socket
                | FileType::Unknown => b'6',
            },
            link: &target,
            device: (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            xattrs,
            ..entry(path, &stat)
        })
    }

    fn child_directory(
        &mut self,
        parts: &[&Part],
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let path = [path, b"/"].concat();
        let open = |part: &&Part| {
            let fd = open_quietly(&part.fd, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            Ok(Part {
                fd,
                layer: part.layer,
                has_named_marks: part.has_named_marks,
            })
        };
        let dirs: rustix::io::Result<Vec<Part>> = parts.iter().map(open).collect();
        match dirs {
            Ok(dirs) => self.directory(&dirs, dirs.len().saturating_sub(1), &path, stat),
            // A mount point: what is mounted there is not of this tree (`/proc` of a chroot).
            Err(Errno::XDEV) => {
                let shown = self.shown(&path);
                self.report.skipped_mounts.push(shown);
                self.entry(&Entry {
                    type_flag: b'5',
                    ..entry(&path, stat)
                })
            }
            Err(errno) => Err(self.failed("open", &path, errno)),
        }
    }

    fn file(
        &mut self,
        parts: &[&Part],
        name: &[u8],
        path: &[u8],
        time: Option<(i64, u32)>,
    ) -> Result<()> {
        let Some(part) = parts.last() else {
            return Ok(());
        };
        let parent = &part.fd;
        // NONBLOCK and NOCTTY: should it have become a fifo or terminal, nothing happens.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd =
            open_quietly(parent, name, flags).map_err(|errno| self.failed("open", path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.failed("look at", path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.report.changed += 1;
            return Ok(());
        }
        let read = |errno| self.failed("read", path, errno);
        let xattrs = part.own_xattrs(fd_xattrs(fd.as_fd()).map_err(read)?);
        let real_size = as_u64(stat.st_size);
        let extents = match self.tree.holes {
            Holes::Kept => extents(&fd, &stat).map_err(read)?,
            Holes::Filled => None,
        };
        let map = extents.as_deref().map(sparse_map).unwrap_or_default();
        let extents = extents.unwrap_or_else(|| vec![(0, real_size)]);
        let data: u64 = extents.iter().map(|(_, length)| length).sum();
        let size = data + u64::try_from(map.len()).unwrap_or(0);
        self.entry(&Entry {
            type_flag: b'0',
            size,
            sparse: (!map.is_empty()).then_some(real_size),
            xattrs,
            mtime: time.unwrap_or_else(|| mtime(&stat)),
            ..entry(path, &stat)
        })?;
        self.write(&map)?;
        for (offset, length) in extents {
            self.data(&fd, offset, length, path)?;
        }
        let padding = size.next_multiple_of(BLOCK_BYTES) - size;
        self.write(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    /// Writes `length` bytes of a file; if it has become shorter, zeros in their place.
    fn data(&mut self, fd: &OwnedFd, mut at: u64, length: u64, path: &[u8]) -> Result<()> {
        let end = at + length;
        let mut shrunk = false;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let room = left.min(BUFFER_BYTES);
            let count = match rustix::io::pread(fd, &mut self.buffer[..room], at) {
                Ok(0) => {
                    shrunk = true;
                    self.buffer[..room].fill(0);
                    room
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.failed("read", path, errno)),
                Ok(count) => count,
            };
            let result = self.out.write_all(&self.buffer[..count]);
            result.map_err(write_error)?;
            at += u64::try_from(count).unwrap_or(u64::MAX);
        }
        self.report.changed += u64::from(shrunk);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.report.entries += 1;
        self.write(&encode(entry))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(write_error)
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        let relative = path.get(self.top_bytes..).unwrap_or_default();
        self.tree.place.join(OsStr::from_bytes(relative))
    }

    fn failed(&self, call: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::store(call, &self.shown(path), errno.into())
    }
}

pub(crate) fn write_error(source: io::Error) -> Error {
    Error::Write { source }
}

fn as_u64(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

fn mtime(stat: &Stat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

/// What stat(2) tells.
fn entry<'a>(path: &'a [u8], stat: &Stat) -> Entry<'a> {
    Entry {
        path,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime(stat),
        ..Entry::default()
    }
}

/// Without changing the access time, which is for owners and root only.
fn open_quietly(parent: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match beneath::open(parent.as_fd(), name, flags | OFlags::NOATIME) {
        Err(Errno::PERM) => beneath::open(parent.as_fd(), name, flags),
        result => result,
    }
}
