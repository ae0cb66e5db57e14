//! The blocks of a squashfs: read by their place, decompressed within their limits, a few of them kept.
//!
//! # Source
//! Linux Documentation/filesystems/squashfs.rst; fs/squashfs/squashfs_fs.h.

use crate::error::{Error, Result};
use crate::limits::Limits;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of a metadata block, uncompressed (`SQUASHFS_METADATA_SIZE`).
pub(super) const METADATA_BYTES: usize = 8192;
/// Largest block of data (`SQUASHFS_FILE_MAX_SIZE`).
const MAX_BLOCK_BYTES: u32 = 1 << 20;
/// Superblock.
const SUPER_BYTES: usize = 96;
/// Bit of a block's size that says that it is stored as it is (`SQUASHFS_COMPRESSED_BIT_BLOCK`).
const STORED: u32 = 1 << 24;

/// Bytes by their place.
pub(crate) trait ReadAt {
    /// As pread(2).
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, mut buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        io::Write::write(&mut buffer, &rest[..count])
    }
}

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Gzip,
    Lzma,
    Xz,
    Zstd,
}

/// What the superblock says.
#[derive(Debug, Clone)]
pub(super) struct Super {
    codec: Codec,
    pub(super) block_bytes: u32,
    pub(super) fragments: u32,
    pub(super) ids: u16,
    /// Of the root directory's inode.
    pub(super) root: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: Option<u64>,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
}

/// A place in metadata: a block, and where in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) block: u64,
    pub(super) offset: usize,
}

/// A metadata block.
#[derive(Debug)]
struct Metadata {
    at: u64,
    /// Where the next one begins.
    next: u64,
    bytes: Vec<u8>,
}

/// Metadata blocks that are kept, each in the slot of its place: inodes and directories are read nearly in their order.
const SLOTS: usize = 64;
/// Blocks of tails of files that are kept.
const FRAGMENTS: usize = 4;

/// An image that is being read.
pub(super) struct Image<R> {
    reader: R,
    pub(super) superblock: Super,
    metadata: Vec<Option<Metadata>>,
    fragments: Vec<(u64, Vec<u8>)>,
    zstd: zstd::bulk::Decompressor<'static>,
    max_decoder_bytes: u64,
    count: Arc<AtomicU64>,
    source_name: String,
}

/// An error about the byte at `offset` of the image.
pub(super) fn damaged(offset: u64, what: &'static str) -> Error {
    Error::Damaged { offset, what }
}

impl<R: ReadAt> Image<R> {
    pub(super) fn new(
        reader: R,
        limits: &Limits,
        count: Arc<AtomicU64>,
        source_name: &str,
    ) -> Result<Self> {
        let mut block = [0; SUPER_BYTES];
        read_exact(&reader, &mut block, 0, source_name)?;
        let superblock = Super::parse(&block, source_name)?;
        let zstd = zstd::bulk::Decompressor::new().map_err(|source| Error::Read {
            source_name: source_name.to_owned(),
            source,
        })?;
        Ok(Self {
            reader,
            superblock,
            metadata: (0..SLOTS).map(|_| None).collect(),
            fragments: Vec::with_capacity(FRAGMENTS),
            zstd,
            max_decoder_bytes: limits.max_decoder_bytes,
            count,
            source_name: source_name.to_owned(),
        })
    }

    /// Fills `buffer` from metadata, and goes on behind that.
    pub(super) fn fill(&mut self, cursor: &mut Cursor, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let block = self.metadata(cursor.block)?;
            let rest = block.bytes.get(cursor.offset..).unwrap_or_default();
            if rest.is_empty() {
                if cursor.offset > block.bytes.len() {
                    return Err(damaged(cursor.block, "a place outside of its block"));
                }
                // Only the last one of a table is shorter, so an empty one would be read for ever.
                if block.bytes.is_empty() {
                    return Err(damaged(cursor.block, "an empty metadata block"));
                }
                *cursor = Cursor {
                    block: block.next,
                    offset: 0,
                };
                continue;
            }
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            cursor.offset += count;
        }
        Ok(())
    }

    /// The next `N` bytes of metadata.
    pub(super) fn take<const N: usize>(&mut self, cursor: &mut Cursor) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(cursor, &mut out)?;
        Ok(out)
    }

    pub(super) fn take_u32(&mut self, cursor: &mut Cursor) -> Result<u32> {
        self.take(cursor).map(u32::from_le_bytes)
    }

    /// Entry `index` of a table whose metadata blocks are listed at `list`.
    pub(super) fn entry<const N: usize>(&mut self, list: u64, index: u64) -> Result<[u8; N]> {
        let each = as_u64(METADATA_BYTES / N);
        let at = list.saturating_add(index / each * 8);
        let mut pointer = [0; 8];
        read_exact(&self.reader, &mut pointer, at, &self.source_name)?;
        let mut cursor = Cursor {
            block: u64::from_le_bytes(pointer),
            offset: as_usize(index % each) * N,
        };
        self.take(&mut cursor)
    }

    /// Bytes of the image as they are.
    pub(super) fn raw<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut out = [0; N];
        read_exact(&self.reader, &mut out, at, &self.source_name)?;
        Ok(out)
    }

    fn metadata(&mut self, at: u64) -> Result<&Metadata> {
        let slot = as_usize(at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) % SLOTS;
        let is_there = self.metadata[slot].as_ref().is_some_and(|it| it.at == at);
        if !is_there {
            let header = u16::from_le_bytes(self.raw(at)?);
            let size = usize::from(header & 0x7fff);
            if size == 0 || size > METADATA_BYTES {
                return Err(damaged(at, "a metadata block of a bad size"));
            }
            let body = at.saturating_add(2);
            let bytes = self.read(body, size, header & 0x8000 != 0, METADATA_BYTES)?;
            self.metadata[slot] = Some(Metadata {
                at,
                next: body.saturating_add(as_u64(size)),
                bytes,
            });
        }
        match &self.metadata[slot] {
            Some(found) => Ok(found),
            None => Err(damaged(at, "a metadata block")),
        }
    }

    /// A block of a file's data, `size` as it stands in the list of blocks; at most a block's size.
    pub(super) fn data(&mut self, at: u64, size: u32) -> Result<Vec<u8>> {
        let limit = as_usize(u64::from(self.superblock.block_bytes));
        let length = as_usize(u64::from(stored_bytes(size)));
        if length > limit {
            return Err(damaged(at, "a block of data that is too large"));
        }
        self.read(at, length, size & STORED != 0, limit)
    }

    /// The block that holds the tails of several files.
    pub(super) fn fragment(&mut self, index: u32) -> Result<&[u8]> {
        let table = self.superblock.fragment_table;
        if index >= self.superblock.fragments {
            return Err(damaged(table, "a fragment that does not exist"));
        }
        let entry: [u8; 16] = self.entry(table, index.into())?;
        let at = u64_at(&entry, 0);
        let place = match self.fragments.iter().position(|(known, _)| *known == at) {
            Some(place) => place,
            None => {
                let bytes = self.data(at, u32_at(&entry, 8))?;
                if self.fragments.len() == FRAGMENTS {
                    self.fragments.remove(0);
                }
                self.fragments.push((at, bytes));
                self.fragments.len() - 1
            }
        };
        Ok(&self.fragments[place].1)
    }

    fn read(&mut self, at: u64, size: usize, is_stored: bool, limit: usize) -> Result<Vec<u8>> {
        let mut packed = vec![0; size];
        read_exact(&self.reader, &mut packed, at, &self.source_name)?;
        self.count.fetch_add(as_u64(size), Ordering::Relaxed);
        if is_stored {
            return Ok(packed);
        }
        self.decompress(&packed, limit)
            .map_err(|source| Error::Decompress {
                format: "squashfs",
                offset: at,
                source,
            })
    }

    fn decompress(&mut self, packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        use liblzma::stream::Stream;
        let memory = self.max_decoder_bytes;
        let all = |reader: &mut dyn Read| {
            let mut out = Vec::new();
            reader.take(as_u64(limit) + 1).read_to_end(&mut out)?;
            match out.len() > limit {
                true => Err(io::Error::other("a block is larger than it may be")),
                false => Ok(out),
            }
        };
        match self.superblock.codec {
            Codec::Gzip => all(&mut flate2::read::ZlibDecoder::new(packed)),
            Codec::Zstd => self.zstd.decompress(packed, limit),
            Codec::Xz => {
                let stream = Stream::new_stream_decoder(memory, 0)?;
                all(&mut liblzma::read::XzDecoder::new_stream(packed, stream))
            }
            Codec::Lzma => {
                let stream = Stream::new_lzma_decoder(memory)?;
                all(&mut liblzma::read::XzDecoder::new_stream(packed, stream))
            }
        }
    }
}

/// Bytes that a block takes in the image.
pub(super) fn stored_bytes(size: u32) -> u32 {
    size & !STORED
}

impl Super {
    fn parse(block: &[u8; SUPER_BYTES], source_name: &str) -> Result<Self> {
        let unsupported = |format| {
            Err(Error::Unsupported {
                source_name: source_name.to_owned(),
                format,
                instead: "unpack it (unsquashfs FILE) and name the directory",
            })
        };
        if !block.starts_with(super::MAGIC) {
            return Err(damaged(0, "no superblock of a squashfs"));
        }
        if (u16_at(block, 28), u16_at(block, 30)) != (4, 0) {
            return unsupported("a squashfs of another version than 4.0");
        }
        let codec = match u16_at(block, 20) {
            1 => Codec::Gzip,
            2 => Codec::Lzma,
            3 => return unsupported("a squashfs compressed with LZO"),
            4 => Codec::Xz,
            5 => return unsupported("a squashfs compressed with LZ4"),
            6 => Codec::Zstd,
            _ => return unsupported("a squashfs of an unknown compression"),
        };
        let block_bytes = u32_at(block, 12);
        if !block_bytes.is_power_of_two() || !(4096..=MAX_BLOCK_BYTES).contains(&block_bytes) {
            return Err(damaged(12, "a bad block size"));
        }
        Ok(Self {
            codec,
            block_bytes,
            fragments: u32_at(block, 16),
            ids: u16_at(block, 26),
            root: u64_at(block, 32),
            id_table: u64_at(block, 48),
            xattr_table: Some(u64_at(block, 56)).filter(|at| *at != u64::MAX),
            inode_table: u64_at(block, 64),
            directory_table: u64_at(block, 72),
            fragment_table: u64_at(block, 80),
        })
    }

    /// Where a reference leads, in the table of inodes or of extended attributes.
    pub(super) fn cursor(table: u64, reference: u64) -> Cursor {
        Cursor {
            block: table.saturating_add(reference >> 16),
            offset: as_usize(reference & 0xffff),
        }
    }
}

fn read_exact(reader: &impl ReadAt, buffer: &mut [u8], at: u64, source_name: &str) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let offset = at.saturating_add(as_u64(filled));
        match reader.read_at(&mut buffer[filled..], offset) {
            Ok(0) => {
                return Err(Error::Truncated {
                    offset,
                    within: String::from("a block of the squashfs"),
                });
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Beyond what an offset can be (pread(2)).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(damaged(at, "a place outside of the image"));
            }
            Err(source) => {
                return Err(Error::Read {
                    source_name: source_name.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut out = [0; 2];
    out.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(out)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

pub(super) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn as_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
