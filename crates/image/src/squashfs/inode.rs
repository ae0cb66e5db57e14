//! Inodes: the basic form and the extended one of each type, read into one.

use super::image::{Cursor, Image, ReadAt, Super, as_usize, damaged, u16_at, u32_at, u64_at};
use crate::error::Result;

/// What an inode says.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u32,
    /// Names that it has.
    pub(super) links: u32,
    /// Index of its extended attributes.
    pub(super) xattrs: Option<u32>,
    pub(super) kind: Kind,
}

/// And what depends on its type.
#[derive(Debug)]
pub(super) enum Kind {
    Directory {
        /// Of its entries.
        entries: Cursor,
        bytes: u64,
    },
    File(Content),
    Symlink(Vec<u8>),
    Device {
        type_flag: u8,
        device: (u32, u32),
    },
    Fifo,
    Socket,
}

/// Where the data of a file is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) bytes: u64,
    /// Of the first block.
    pub(super) start: u64,
    /// Its last bytes: in which fragment, and where in it.
    pub(super) tail: Option<(u32, u32)>,
    /// Of the sizes of its blocks.
    pub(super) sizes: Cursor,
    pub(super) blocks: u64,
    pub(super) may_have_holes: bool,
}

/// `SQUASHFS_INVALID_FRAG`, `SQUASHFS_INVALID_XATTR`.
const NONE: u32 = u32::MAX;
/// `PATH_MAX`, with which the kernel ends too.
const MAX_TARGET: u32 = 4096;
/// Blocks of one file: 2 TiB of the usual ones.
const MAX_BLOCKS: u64 = 1 << 24;

/// Reads the inode that a reference leads to.
pub(super) fn read<R: ReadAt>(image: &mut Image<R>, reference: u64, ids: &[u32]) -> Result<Inode> {
    let mut cursor = Super::cursor(image.superblock.inode_table, reference);
    let place = cursor.block;
    let head: [u8; 16] = image.take(&mut cursor)?;
    let id = |at: usize| {
        let id = ids.get(usize::from(u16_at(&head, at)));
        id.copied()
            .ok_or(damaged(place, "an owner that is not listed"))
    };
    let (uid, gid) = (id(4)?, id(6)?);
    let (mut links, mut xattrs) = (1, None);
    let c = &mut cursor;
    let kind = match u16_at(&head, 0) {
        1 => {
            let body: [u8; 16] = image.take(c)?;
            directory(
                image,
                u32_at(&body, 0),
                u16_at(&body, 10),
                u16_at(&body, 8).into(),
            )
        }
        8 => {
            let body: [u8; 24] = image.take(c)?;
            xattrs = Some(u32_at(&body, 20));
            directory(image, u32_at(&body, 8), u16_at(&body, 18), u32_at(&body, 4))
        }
        2 => {
            let body: [u8; 16] = image.take(c)?;
            let start = u32_at(&body, 0).into();
            let tail = (u32_at(&body, 4), u32_at(&body, 8));
            content(image, *c, start, u32_at(&body, 12).into(), tail, false)?
        }
        9 => {
            let body: [u8; 40] = image.take(c)?;
            (links, xattrs) = (u32_at(&body, 24), Some(u32_at(&body, 36)));
            let tail = (u32_at(&body, 28), u32_at(&body, 32));
            let is_sparse = u64_at(&body, 16) != 0;
            content(
                image,
                *c,
                u64_at(&body, 0),
                u64_at(&body, 8),
                tail,
                is_sparse,
            )?
        }
        kind @ (3 | 10) => {
            links = image.take_u32(c)?;
            let length = image.take_u32(c)?;
            if length > MAX_TARGET {
                return Err(damaged(place, "a symlink with a target that is too long"));
            }
            let mut target = vec![0; as_usize(length.into())];
            image.fill(c, &mut target)?;
            if kind == 10 {
                xattrs = Some(image.take_u32(c)?);
            }
            Kind::Symlink(target)
        }
        kind @ (4 | 5 | 11 | 12) => {
            links = image.take_u32(c)?;
            let device = image.take_u32(c)?;
            if kind > 7 {
                xattrs = Some(image.take_u32(c)?);
            }
            Kind::Device {
                type_flag: if kind % 7 == 4 { b'4' } else { b'3' },
                device: numbers(device),
            }
        }
        kind @ (6 | 7 | 13 | 14) => {
            links = image.take_u32(c)?;
            if kind > 7 {
                xattrs = Some(image.take_u32(c)?);
            }
            match kind % 7 {
                6 => Kind::Fifo,
                _ => Kind::Socket,
            }
        }
        _ => return Err(damaged(place, "an inode of an unknown type")),
    };
    Ok(Inode {
        mode: u32::from(u16_at(&head, 2)) & 0o7777,
        uid,
        gid,
        mtime: u32_at(&head, 8),
        links,
        xattrs: xattrs.filter(|index| *index != NONE),
        kind,
    })
}

fn directory<R>(image: &Image<R>, block: u32, offset: u16, bytes: u32) -> Kind {
    let table = image.superblock.directory_table;
    Kind::Directory {
        entries: Cursor {
            block: table.saturating_add(block.into()),
            offset: offset.into(),
        },
        // With 3 for `.` and `..`, which are not stored.
        bytes: u64::from(bytes).saturating_sub(3),
    }
}

fn content<R>(
    image: &Image<R>,
    sizes: Cursor,
    start: u64,
    bytes: u64,
    (fragment, offset): (u32, u32),
    may_have_holes: bool,
) -> Result<Kind> {
    let each = u64::from(image.superblock.block_bytes);
    let tail = (fragment != NONE).then_some((fragment, offset));
    let blocks = match tail {
        Some(_) => bytes / each,
        None => bytes.div_ceil(each),
    };
    if blocks > MAX_BLOCKS {
        return Err(damaged(sizes.block, "a file with too many blocks"));
    }
    Ok(Kind::File(Content {
        bytes,
        start,
        tail,
        sizes,
        blocks,
        may_have_holes,
    }))
}

/// Major and minor number (Linux include/linux/kdev_t.h, new_decode_dev).
fn numbers(device: u32) -> (u32, u32) {
    let major = (device & 0xfff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_split() {
        assert_eq!(numbers(0x0103), (1, 3));
        let (major, minor) = (259, 70_000);
        let packed = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        assert_eq!(numbers(packed), (major, minor));
    }
}
