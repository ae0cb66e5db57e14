//! A squashfs as a tar archive, which the unpacker then takes like any other: so a hostile image can do no more than an archive.
//!
//! Reads version 4.0 with gzip, xz, zstd or lzma, extended attributes, holes, hard links and devices included. Memory is bounded:
//! some blocks of 1 MiB and of 8 KiB, and the names of files with several. Own code: backhand 0.25 drops extended attributes
//! (ADR 0010), and to mount an image takes root and hands it to the kernel's parser.
//!
//! # Source
//! Linux Documentation/filesystems/squashfs.rst; fs/squashfs/{squashfs_fs.h,xattr_id.c,dir.c}.

mod image;
mod inode;

pub(crate) use image::ReadAt;

use crate::archive::{BLOCK, MAX_EXTENTS};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pack::header::{Entry, encode, pad};
use crate::pack::sparse::sparse_map;
use crate::pack::{END, write_error};
use image::{
    Cursor, Image, Super, as_u64, as_usize, damaged, stored_bytes, u16_at, u32_at, u64_at,
};
use inode::{Content, Inode, Kind};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// First bytes of a little-endian one, the only kind since version 4.
pub(crate) const MAGIC: &[u8] = b"hsqs";
/// `SQUASHFS_NAME_LEN`.
const MAX_NAME: u16 = 256;
/// `PATH_MAX`.
const MAX_PATH: usize = 4095;
/// What is told by an index of extended attributes (`SQUASHFS_XATTR_PREFIX_MASK`, `SQUASHFS_XATTR_VALUE_OOL`).
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
const OUT_OF_LINE: u16 = 0x100;

/// Writes all that is in the image as a tar archive.
pub(crate) fn write_tar(
    reader: impl ReadAt,
    limits: &Limits,
    count: Arc<AtomicU64>,
    source_name: &str,
    out: &mut dyn Write,
) -> Result<()> {
    let mut image = Image::new(reader, limits, count, source_name)?;
    let mut ids = Vec::new();
    for index in 0..image.superblock.ids {
        let id = image.entry(image.superblock.id_table, index.into())?;
        ids.push(u32::from_le_bytes(id));
    }
    let mut walker = Walker {
        image,
        ids,
        limits: limits.clone(),
        links: HashMap::new(),
        directories: HashSet::new(),
        out,
    };
    walker.walk()?;
    walker.put(&END)
}

struct Walker<'a, R> {
    image: Image<R>,
    /// Owners and groups.
    ids: Vec<u32>,
    limits: Limits,
    /// First names of inodes with several.
    links: HashMap<u64, Vec<u8>>,
    /// Those that were there already: one that is its own child would never end.
    directories: HashSet<u64>,
    out: &'a mut dyn Write,
}

/// A directory that is being listed.
struct Level {
    path_bytes: usize,
    entries: Cursor,
    /// Bytes of entries that are left.
    left: u64,
    /// Entries behind the last header, and the block of inodes that this names.
    run: u32,
    inodes: u64,
}

impl<R: ReadAt> Walker<'_, R> {
    fn walk(&mut self) -> Result<()> {
        let mut path = b"./".to_vec();
        let root = self.image.superblock.root;
        let top = inode::read(&mut self.image, root, &self.ids)?;
        let Some(level) = self.directory(root, &top, &path)? else {
            return Err(damaged(32, "a root that is no directory"));
        };
        let mut levels = vec![level];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path_bytes);
            let Some((name, reference)) = next(&mut self.image, level)? else {
                levels.pop();
                continue;
            };
            path.extend_from_slice(&name);
            if path.len() > MAX_PATH {
                return Err(damaged(level.entries.block, "a path that is too long"));
            }
            let inode = inode::read(&mut self.image, reference, &self.ids)?;
            if let Kind::Directory { .. } = inode.kind {
                path.push(b'/');
                levels.extend(self.directory(reference, &inode, &path)?);
            } else {
                self.other(reference, inode, &path)?;
            }
        }
        Ok(())
    }

    /// Writes a directory, and begins to list it.
    fn directory(&mut self, reference: u64, inode: &Inode, path: &[u8]) -> Result<Option<Level>> {
        let Kind::Directory { entries, bytes } = inode.kind else {
            return Ok(None);
        };
        if !self.directories.insert(reference) {
            return Err(damaged(entries.block, "a directory in two places"));
        }
        let xattrs = self.xattrs(inode)?;
        self.entry(&Entry {
            type_flag: b'5',
            xattrs,
            ..entry(path, inode)
        })?;
        Ok(Some(Level {
            path_bytes: path.len(),
            entries,
            left: bytes,
            run: 0,
            inodes: 0,
        }))
    }

    fn other(&mut self, reference: u64, inode: Inode, path: &[u8]) -> Result<()> {
        if inode.links > 1 {
            if let Some(first) = self.links.get(&reference).cloned() {
                return self.entry(&Entry {
                    type_flag: b'1',
                    link: &first,
                    ..entry(path, &inode)
                });
            }
            self.links.insert(reference, path.to_vec());
        }
        let xattrs = self.xattrs(&inode)?;
        let (type_flag, device, link): (u8, _, &[u8]) = match &inode.kind {
            Kind::File(content) => return self.file(&inode, *content, xattrs, path),
            Kind::Symlink(target) => (b'2', (0, 0), target),
            Kind::Device { type_flag, device } => (*type_flag, *device, b""),
            Kind::Fifo => (b'6', (0, 0), b""),
            // No archive can hold it.
            Kind::Socket | Kind::Directory { .. } => return Ok(()),
        };
        self.entry(&Entry {
            type_flag,
            device,
            link,
            xattrs,
            ..entry(path, &inode)
        })
    }

    fn file(
        &mut self,
        inode: &Inode,
        content: Content,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        path: &[u8],
    ) -> Result<()> {
        let extents = match content.may_have_holes {
            true => self.extents(content)?,
            false => Vec::new(),
        };
        let map = match content.may_have_holes {
            true => sparse_map(&extents),
            false => Vec::new(),
        };
        let data = match map.is_empty() {
            true => content.bytes,
            false => extents.iter().map(|(_, length)| length).sum(),
        };
        let size = data.saturating_add(as_u64(map.len()));
        self.entry(&Entry {
            type_flag: b'0',
            size,
            sparse: (!map.is_empty()).then_some(content.bytes),
            xattrs,
            ..entry(path, inode)
        })?;
        self.put(&map)?;
        self.content(content, map.is_empty())?;
        let mut padding = vec![0; as_usize(size % as_u64(BLOCK))];
        let filled = padding.len();
        pad(&mut padding);
        self.put(&padding[filled..])
    }

    /// The pieces of a file between its holes.
    fn extents(&mut self, content: Content) -> Result<Vec<(u64, u64)>> {
        let each = u64::from(self.image.superblock.block_bytes);
        let mut sizes = content.sizes;
        let mut extents: Vec<(u64, u64)> = Vec::new();
        let add = |extents: &mut Vec<(u64, u64)>, at: u64, length: u64| match extents.last_mut() {
            Some(last) if last.0 + last.1 == at => last.1 += length,
            _ => extents.push((at, length)),
        };
        for number in 0..content.blocks {
            let at = number * each;
            if self.image.take_u32(&mut sizes)? != 0 {
                add(&mut extents, at, each.min(content.bytes - at));
            }
            if extents.len() == MAX_EXTENTS {
                return Err(damaged(sizes.block, "a file with too many holes"));
            }
        }
        let behind = content.blocks * each;
        if content.tail.is_some() && behind < content.bytes {
            add(&mut extents, behind, content.bytes - behind);
        }
        Ok(extents)
    }

    /// The data of a file; holes as zeros, or not at all.
    fn content(&mut self, content: Content, with_holes: bool) -> Result<()> {
        let each = u64::from(self.image.superblock.block_bytes);
        let (mut sizes, mut place) = (content.sizes, content.start);
        let zeros = match with_holes {
            true => vec![0; as_usize(each.min(content.bytes))],
            false => Vec::new(),
        };
        for number in 0..content.blocks {
            let wanted = as_usize(each.min(content.bytes - number * each));
            let size = self.image.take_u32(&mut sizes)?;
            if size == 0 {
                self.put(zeros.get(..wanted).unwrap_or_default())?;
                continue;
            }
            let bytes = self.image.data(place, size)?;
            if bytes.len() != wanted {
                return Err(damaged(place, "a block of data of another length"));
            }
            self.put(&bytes)?;
            place = place.saturating_add(stored_bytes(size).into());
        }
        let behind = content.blocks * each;
        let (Some((fragment, offset)), true) = (content.tail, behind < content.bytes) else {
            return Ok(());
        };
        let start = as_usize(offset.into());
        let end = start.saturating_add(as_usize(content.bytes - behind));
        let tail = self.image.fragment(fragment)?.get(start..end);
        let Some(tail) = tail.map(<[u8]>::to_vec) else {
            return Err(damaged(
                content.sizes.block,
                "a tail outside of its fragment",
            ));
        };
        self.put(&tail)
    }

    /// Extended attributes of an inode.
    fn xattrs(&mut self, inode: &Inode) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (Some(index), Some(table)) = (inode.xattrs, self.image.superblock.xattr_table) else {
            return Ok(Vec::new());
        };
        let head: [u8; 16] = self.image.raw(table)?;
        let pairs = u64_at(&head, 0);
        if index >= u32_at(&head, 8) {
            return Err(damaged(table, "attributes that are not listed"));
        }
        let list = table.saturating_add(16);
        let found: [u8; 16] = self.image.entry(list, index.into())?;
        let mut cursor = Super::cursor(pairs, u64_at(&found, 0));
        let mut out = Vec::new();
        let mut left = self.limits.max_header_bytes;
        for _ in 0..u32_at(&found, 8) {
            let head: [u8; 4] = self.image.take(&mut cursor)?;
            let kind = u16_at(&head, 0);
            let mut name = vec![0; u16_at(&head, 2).into()];
            self.image.fill(&mut cursor, &mut name)?;
            let value = match kind & OUT_OF_LINE {
                0 => self.value(&mut cursor)?,
                _ => {
                    let place: [u8; 12] = self.image.take(&mut cursor)?;
                    self.value(&mut Super::cursor(pairs, u64_at(&place, 4)))?
                }
            };
            left = left
                .checked_sub(name.len() + value.len() + 64)
                .ok_or(damaged(table, "too many extended attributes of one file"))?;
            // Kinds to come are left out, as the kernel does.
            if let Some(prefix) = PREFIXES.get(usize::from(kind & 0xff)) {
                out.push(([prefix, &name[..]].concat(), value));
            }
        }
        Ok(out)
    }

    fn value(&mut self, cursor: &mut Cursor) -> Result<Vec<u8>> {
        let length = as_usize(self.image.take_u32(cursor)?.into());
        if length > self.limits.max_xattr_bytes {
            return Err(Error::Limit {
                what: "bytes in an extended attribute",
                limit: as_u64(self.limits.max_xattr_bytes),
                offset: cursor.block,
            });
        }
        let mut value = vec![0; length];
        self.image.fill(cursor, &mut value)?;
        Ok(value)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.put(&encode(entry))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(write_error)
    }
}

fn entry<'a>(path: &'a [u8], inode: &Inode) -> Entry<'a> {
    Entry {
        path,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        mtime: (inode.mtime.into(), 0),
        ..Entry::default()
    }
}

/// The next name in a directory, and where its inode is.
fn next<R: ReadAt>(image: &mut Image<R>, level: &mut Level) -> Result<Option<(Vec<u8>, u64)>> {
    let place = level.entries.block;
    let bad = |what| damaged(place, what);
    let spend = |left: &mut u64, bytes: u64| {
        *left = left
            .checked_sub(bytes)
            .ok_or(bad("a directory that is cut off"))?;
        Ok::<(), Error>(())
    };
    if level.run == 0 {
        if level.left == 0 {
            return Ok(None);
        }
        spend(&mut level.left, 12)?;
        let head: [u8; 12] = image.take(&mut level.entries)?;
        // One less than there are; at most 256 (`SQUASHFS_DIR_COUNT`).
        level.run = u32_at(&head, 0).saturating_add(1);
        level.inodes = u32_at(&head, 4).into();
        if level.run > 256 {
            return Err(bad("a directory with a bad header"));
        }
    }
    level.run -= 1;
    let head: [u8; 8] = image.take(&mut level.entries)?;
    let length = u16_at(&head, 6).saturating_add(1);
    if length > MAX_NAME {
        return Err(bad("a name that is too long"));
    }
    spend(&mut level.left, 8 + u64::from(length))?;
    let mut name = vec![0; length.into()];
    image.fill(&mut level.entries, &mut name)?;
    if name.contains(&b'/') || name.contains(&0) || name == b"." || name == b".." {
        return Err(bad("a name that is none"));
    }
    Ok(Some((
        name,
        level.inodes << 16 | u64::from(u16_at(&head, 0)),
    )))
}
