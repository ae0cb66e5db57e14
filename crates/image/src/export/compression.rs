//! Compressing what is exported, with the same bytes each time: no time stamps, no threads.

use crate::error::Result;
use crate::pack::write_error;
use std::io::{self, Write};

/// How an exported archive is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, which everything reads.
    Gzip,
    /// Zstandard: faster and smaller.
    Zstd,
}

/// Level of zstd(1): its own default.
const ZSTD_LEVEL: i32 = 3;

/// A compressing writer.
pub(super) enum Encoder<W: Write> {
    None(W),
    Gzip(Box<flate2::write::GzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(compression: Compression, out: W) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
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
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
        .map_err(write_error)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
