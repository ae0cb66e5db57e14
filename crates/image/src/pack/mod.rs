//! From a directory to a tar archive: for `export`, and for importing a directory, which is a pack and an unpack.
//!
//! Everything is kept that a tree can have: owners, modes, times to the nanosecond, extended attributes, hard
//! links, devices, holes. Sockets are left out, as by every tar. The archive is deterministic: entries sorted by
//! name, no access times, no user names. The tree may belong to somebody hostile: it is walked by descriptors.

pub(crate) mod header;

use crate::archive::BLOCK;
use crate::beneath;
use crate::error::{Error, Result};
use header::{Entry, encode, pad};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
    let report = pack_members(root, place, b"./", without, out)?;
    out.write_all(&END).map_err(write_error)?;
    out.flush().map_err(write_error)?;
    Ok(report)
}

/// What ends an archive: two blocks of zeros.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The members of an archive without its end. `top` is what the tree's own directory is called in it, with a slash at the
/// end: `./`, or `rootfs/` where an archive holds more than a tree.
pub(crate) fn pack_members(
    root: BorrowedFd<'_>,
    place: &Path,
    top: &[u8],
    without: Option<(u64, u64)>,
    out: &mut dyn Write,
) -> Result<PackReport> {
    let mut packer = Packer {
        out,
        place,
        top_bytes: top.len(),
        links: HashMap::new(),
        without,
        report: PackReport::default(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let fd = beneath::open(root, b"", OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|errno| packer.failed("open", top, errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| packer.failed("look at", top, errno))?;
    packer.directory(&fd, top, &stat)?;
    Ok(packer.report)
}

const BLOCK_BYTES: u64 = 512;
const BUFFER_BYTES: usize = 256 << 10;
/// Longer paths cannot be unpacked again (`PATH_MAX`), and their depth would use up all descriptors.
const MAX_PATH: usize = 4095;

struct Packer<'a> {
    out: &'a mut dyn Write,
    place: &'a Path,
    /// Length of what every name in the archive begins with.
    top_bytes: usize,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    without: Option<(u64, u64)>,
    report: PackReport,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    /// A directory and everything in it. `path` begins with `./` and ends with a slash.
    fn directory(&mut self, fd: &OwnedFd, path: &[u8], stat: &Stat) -> Result<()> {
        let xattrs = fd_xattrs(fd.as_fd()).map_err(|errno| self.failed("read", path, errno))?;
        self.entry(&Entry {
            type_flag: b'5',
            xattrs,
            ..entry(path, stat)
        })?;
        if self.without == Some((stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let mut names = Vec::new();
        let entries = Dir::read_from(fd).map_err(|errno| self.failed("read", path, errno))?;
        for entry in entries {
            let entry = entry.map_err(|errno| self.failed("read", path, errno))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        for name in names {
            let child = [path, &name[..]].concat();
            if child.len() > MAX_PATH {
                return Err(self.failed("pack", path, Errno::NAMETOOLONG));
            }
            self.child(fd, &name, &child)?;
        }
        Ok(())
    }

    fn child(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.report.changed += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("look at", path, errno)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.child_directory(parent, name, path, &stat);
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
            return self.file(parent, name, path);
        }
        let xattrs = self.node_xattrs(parent, name, path)?;
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
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let path = [path, b"/"].concat();
        let fd = open_quietly(parent, name, OFlags::RDONLY | OFlags::DIRECTORY);
        match fd {
            Ok(fd) => self.directory(&fd, &path, stat),
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

    fn file(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
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
        let xattrs = fd_xattrs(fd.as_fd()).map_err(read)?;
        let real_size = as_u64(stat.st_size);
        let extents = extents(&fd, &stat).map_err(read)?;
        let map = extents.as_deref().map(sparse_map).unwrap_or_default();
        let extents = extents.unwrap_or_else(|| vec![(0, real_size)]);
        let data: u64 = extents.iter().map(|(_, length)| length).sum();
        let size = data + u64::try_from(map.len()).unwrap_or(0);
        self.entry(&Entry {
            type_flag: b'0',
            size,
            sparse: (!map.is_empty()).then_some(real_size),
            xattrs,
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

    /// Attributes of what cannot be opened. There is no getxattrat(2) before Linux 6.13: see `unpack::attrs`.
    fn node_xattrs(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Xattrs> {
        let mut magic = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        magic.extend_from_slice(name);
        collect_xattrs(
            |buffer| rustix::fs::llistxattr(&magic[..], buffer),
            |xattr, buffer| rustix::fs::lgetxattr(&magic[..], xattr, buffer),
        )
        .map_err(|errno| self.failed("read", path, errno))
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
        self.place.join(OsStr::from_bytes(relative))
    }

    fn failed(&self, call: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::store(call, &self.shown(path), errno.into())
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn write_error(source: io::Error) -> Error {
    Error::Write { source }
}

fn as_u64(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// What stat(2) tells.
fn entry<'a>(path: &'a [u8], stat: &Stat) -> Entry<'a> {
    Entry {
        path,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
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

/// Where the data of a file with holes is; `None` if it has none worth the trouble. Ends with an empty piece at the
/// end of the file if that is a hole, as GNU tar writes it.
fn extents(fd: &OwnedFd, stat: &Stat) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    const MAX_EXTENTS: usize = 1 << 16;
    let size = as_u64(stat.st_size);
    // st_blocks counts 512 bytes on Linux, whatever the file system's block is (stat(2)).
    if as_u64(stat.st_blocks).saturating_mul(512) >= size {
        return Ok(None);
    }
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            // No data up to the end.
            Err(Errno::NXIO) => break,
            // A file system that cannot tell.
            Err(Errno::INVAL) => return Ok(None),
            result => result?,
        };
        let end = rustix::fs::seek(fd, SeekFrom::Hole(begin))?.min(size);
        if begin >= end || extents.len() >= MAX_EXTENTS {
            return Ok(None);
        }
        extents.push((begin, end - begin));
        at = end;
    }
    if extents == [(0, size)] {
        return Ok(None);
    }
    extents.push((size, 0));
    Ok(Some(extents))
}

/// The map in front of the data: decimal lines, padded to a block.
fn sparse_map(extents: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", extents.len());
    for (offset, length) in extents {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    pad(&mut map);
    map
}

fn fd_xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<Xattrs> {
    collect_xattrs(
        |buffer| rustix::fs::flistxattr(fd, buffer),
        |name, buffer| rustix::fs::fgetxattr(fd, name, buffer),
    )
}

/// Names and values, sorted.
fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Xattrs> {
    // Most files have none: asked with a small buffer first. The kernel's limit is 64 KiB for both.
    let mut names = [0; 1024];
    let names = match list(&mut names) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(count) => names[..count].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0; 1 << 16];
            let count = list(&mut names)?;
            names.truncate(count);
            names
        }
        Err(errno) => return Err(errno),
    };
    let mut out = Vec::new();
    let mut value = vec![0; 1 << 16];
    for name in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        match get(name, &mut value) {
            Ok(count) => out.push((name.to_vec(), value[..count].to_vec())),
            // Gone, or not for us to read (`trusted.`).
            Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    out.sort();
    Ok(out)
}
