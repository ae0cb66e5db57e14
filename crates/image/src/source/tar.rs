//! tar archives, plain or compressed: decoded on one thread, unpacked on another.

use super::{Manifest, Opened, Source, foreign};
use crate::archive::{BLOCK, looks_like_tar};
use crate::compress::{Decoder, detect};
use crate::error::{Error, Result};
use crate::squashfs::MAGIC;
use crate::stream::{Stream, is_zeros, spawn};
use crate::unpack::{Context, unpack};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(super) struct Tar;

impl Source for Tar {
    fn id(&self) -> &'static str {
        "tar"
    }

    /// Whether what is compressed is an archive turns out when the first block of it is there.
    fn probe(&self, opened: &Opened) -> bool {
        detect(&opened.head).is_some() || looks_like_tar(&opened.head)
    }

    fn import(
        &self,
        opened: Opened,
        count: Arc<AtomicU64>,
        root: OwnedFd,
        context: Context<'_>,
    ) -> Result<Manifest> {
        let name = opened.name.clone();
        let codec = detect(&opened.head);
        let decoder = Decoder::new(opened.into_input(count), codec, context.limits, &name);
        let mut blocks = spawn("decode", decoder).map_err(|source| Error::Read {
            source_name: name.clone(),
            source,
        })?;
        if codec.is_some() {
            check_first(&mut blocks, &name)?;
        }
        let (mut report, blocks) = unpack(blocks, root, context)?;
        if report.entries() == 0 {
            return Err(Error::Empty {
                source_name: name,
                what: "an archive without entries",
            });
        }
        let Some(sum) = blocks.into_end() else {
            return Err(Error::Read {
                source_name: name,
                source: std::io::ErrorKind::UnexpectedEof.into(),
            });
        };
        report.garbage_bytes += sum.garbage_bytes;
        Ok(Manifest {
            prefix: Vec::new(),
            sha256: sum.sha256,
            bytes: sum.bytes,
            compression: codec.map(|codec| codec.name),
            report,
            config: None,
        })
    }
}

/// Says what a compressed file is if it is no archive.
fn check_first<S: Stream>(stream: &mut S, name: &str) -> Result<()> {
    let chunk = stream.chunk()?;
    if looks_like_tar(chunk) || is_zeros(chunk) {
        return Ok(());
    }
    if chunk.is_empty() {
        return Err(Error::Empty {
            source_name: name.to_owned(),
            what: "nothing is compressed in it",
        });
    }
    let content = format!("the compressed content of {name}");
    let error = match chunk.starts_with(MAGIC) {
        true => foreign::compressed(content, "a squashfs image"),
        false => foreign::error(content, foreign::find(chunk), chunk),
    };
    // If there is not even one block, the compressed data may be cut off, which is the better explanation.
    let length = chunk.len();
    stream.consume(length);
    match length < BLOCK {
        true => stream.chunk().and(Err(error)),
        false => Err(error),
    }
}
