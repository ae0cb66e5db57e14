//! Compressing what is exported, with the same bytes each time: no time stamps, and nothing that depends on the number of
//! processors.

use crate::error::Result;
use crate::pack::write_error;
use std::io::{self, Write};

/// How an exported archive is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// bzip2.
    Bzip2,
    /// gzip, which everything reads.
    Gzip,
    /// xz: the smallest, and the slowest to make.
    Xz,
    /// Zstandard: faster and smaller than gzip.
    Zstd,
}

impl Compression {
    /// What a file name ends with behind `.tar`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bzip2 => ".bz2",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }
}

/// Level of zstd(1): its own default.
const ZSTD_LEVEL: i32 = 3;
/// Level of xz(1): its own default.
const XZ_LEVEL: u32 = 6;
/// What xz(1) compresses on its own, so that others can go on beside: three times the dictionary of its level. Fixed, since the
/// bytes that come out depend on it.
const XZ_BLOCK_BYTES: u64 = 24 << 20;
/// More would take more than a gigabyte of memory.
const XZ_THREADS: usize = 8;

/// xz in threads of its own. How many makes no difference to what comes out.
fn xz_stream() -> io::Result<liblzma::stream::Stream> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    liblzma::stream::MtStreamBuilder::new()
        .preset(XZ_LEVEL)
        .check(liblzma::stream::Check::Crc64)
        .block_size(XZ_BLOCK_BYTES)
        .threads(u32::try_from(threads.min(XZ_THREADS)).unwrap_or(1))
        .encoder()
        .map_err(io::Error::from)
}

/// A compressing writer.
pub(super) enum Encoder<W: Write> {
    None(W),
    Bzip2(Box<bzip2::write::BzEncoder<W>>),
    Gzip(Box<flate2::write::GzEncoder<W>>),
    Xz(Box<liblzma::write::XzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(compression: Compression, out: W) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            Compression::Bzip2 => Self::Bzip2(Box::new(bzip2::write::BzEncoder::new(
                out,
                bzip2::Compression::best(),
            ))),
            Compression::Xz => {
                let stream = xz_stream().map_err(write_error)?;
                Self::Xz(Box::new(liblzma::write::XzEncoder::new_stream(out, stream)))
            }
            Compression::Gzip => {
                // A `GzBuilder` as it comes writes neither time nor name (RFC 1952, section 2.3).
                let level = flate2::Compression::default();
                Self::Gzip(Box::new(flate2::GzBuilder::new().write(out, level)))
            }
            Compression::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL);
                Self::Zstd(Box::new(encoder.map_err(write_error)?))
            }
        })
    }

    /// Writes what is left, and gives back what is below.
    pub(super) fn finish(self) -> Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Bzip2(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
        .map_err(write_error)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Bzip2(encoder) => encoder.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Bzip2(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Xz(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
