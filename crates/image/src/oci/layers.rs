//! Layers one over the other: each decoded and hashed on a thread of its own, unpacked into the same tree.

use super::blobs::{Blobs, same};
use super::documents::Digest;
use super::fault::Fault;
use super::{At, named};
use crate::archive::{MAX_UNPACKED, looks_like_tar};
use crate::compress::{Decoder, Input, Sum, detect};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::stream::{Blocks, Fill, Stream, is_zeros, spawn};
use crate::unpack::{Context, LayerUnpacker, UnpackReport};
use rustix::fd::OwnedFd;
use sha2::{Digest as _, Sha256};
use std::io::{Read, Seek};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A layer of an image.
#[derive(Debug)]
pub(super) struct Layer {
    /// In the directory, as a document names it.
    pub(super) path: String,
    /// Size of the file.
    pub(super) bytes: u64,
    /// What its manifest says that it is.
    pub(super) media_type: String,
    /// Of the file, where its name is a digest.
    pub(super) digest: Option<Digest>,
    /// Of the archive before compression.
    pub(super) diff_id: Digest,
}

/// Unpacks all layers into `root`, an empty directory.
pub(super) fn apply(
    blobs: &Blobs<'_>,
    layers: &[Layer],
    source_name: &str,
    root: OwnedFd,
    count: &Arc<AtomicU64>,
    context: Context<'_>,
) -> Result<UnpackReport> {
    let mut unpacker = LayerUnpacker::new(root, context);
    let mut left = context.limits.max_unpacked_bytes;
    for layer in layers {
        let limits = Limits {
            max_unpacked_bytes: left,
            ..context.limits.clone()
        };
        let at = |fault| named(&layer.path, fault);
        let begun = begin(blobs, layer, &limits, Arc::clone(count));
        let (is_compressed, mut blocks) = begun.map_err(|at| at.of(source_name))?;
        let in_layer = |error| in_layer(layer, error, context.limits);
        let chunk = blocks.chunk().map_err(in_layer)?;
        // The empty layer that Docker makes for every instruction is nothing but zeros.
        let is_tar = looks_like_tar(chunk) || is_zeros(chunk) || chunk.is_empty();
        if !is_tar {
            let media_type = super::documents::shorten(&layer.media_type);
            return Err(at(Fault::LayerType(media_type)).of(source_name));
        }
        let (charged, blocks) = unpacker.apply(blocks, &limits).map_err(in_layer)?;
        left = left.saturating_sub(charged);
        let Some(hashed) = blocks.into_end() else {
            return Err(Error::Read {
                source_name: source_name.to_owned(),
                source: std::io::ErrorKind::UnexpectedEof.into(),
            });
        };
        let checked = layer.check(&hashed, is_compressed);
        checked.map_err(|fault| at(fault).of(source_name))?;
    }
    unpacker.finish()
}

/// Says which layer it was. A limit is that of the whole image.
fn in_layer(layer: &Layer, error: Error, limits: &Limits) -> Error {
    if let Error::Limit {
        what: what @ MAX_UNPACKED,
        offset,
        ..
    } = error
    {
        return Error::Limit {
            what,
            limit: limits.max_unpacked_bytes,
            offset,
        };
    }
    // Both are about the whole.
    if matches!(error, Error::NoSpace { .. } | Error::Limit { .. }) {
        return error;
    }
    Error::InLayer {
        layer: super::documents::shorten(&layer.path),
        source: Box::new(error),
    }
}

impl Layer {
    fn check(&self, found: &Hashed, is_compressed: bool) -> std::result::Result<(), Fault> {
        let file = Digest::of(&found.sum.sha256);
        if let Some(digest) = &self.digest {
            same(digest, &file)?;
        }
        match is_compressed {
            true => same(&self.diff_id, &Digest::of(&found.diff_id)),
            false => same(&self.diff_id, &file),
        }
    }
}

/// Starts to read a layer. Whether it is compressed is told by its first bytes, since media types are wrong at times.
fn begin(
    blobs: &Blobs<'_>,
    layer: &Layer,
    limits: &Limits,
    count: Arc<AtomicU64>,
) -> std::result::Result<(bool, Blocks<Hashed>), At> {
    let at = |fault| named(&layer.path, fault);
    let blob = match &layer.digest {
        Some(digest) => blobs.open_digest(digest, layer.bytes),
        None => blobs.open_named(&layer.path),
    };
    let mut file = blob.map_err(at)?.file;
    let mut head = Vec::new();
    let mut look = || -> std::io::Result<()> {
        std::io::Read::by_ref(&mut file)
            .take(16)
            .read_to_end(&mut head)?;
        file.rewind()
    };
    look().map_err(|error| at(Fault::Read(error)))?;
    let codec = detect(&head);
    let input = Input::new(Box::new(file), count);
    let hashing = Hashing {
        decoder: Decoder::new(input, codec, limits, &layer.path),
        // The file's own digest is the same if it is not compressed.
        sha256: codec.map(|_| Sha256::new()),
    };
    let blocks = spawn("decode", hashing).map_err(|error| at(Fault::Read(error)))?;
    Ok((codec.is_some(), blocks))
}

/// Hashes what a decoder makes.
struct Hashing {
    decoder: Decoder,
    sha256: Option<Sha256>,
}

/// What a layer has turned out to be.
#[derive(Debug)]
pub(super) struct Hashed {
    sum: Sum,
    diff_id: [u8; 32],
}

impl Fill<Hashed> for Hashing {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.decoder.fill(buffer)?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&buffer[..count]);
        }
        Ok(count)
    }

    fn finish(self) -> Result<Hashed> {
        Ok(Hashed {
            sum: self.decoder.finish()?,
            diff_id: self.sha256.unwrap_or_default().finalize().into(),
        })
    }
}
