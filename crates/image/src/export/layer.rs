//! A tree as one layer: packed, hashed, compressed and hashed again on its way into a file.

use super::compression::{Compression, Encoder};
use super::{Export, outer::Digest};
use crate::error::Result;
use crate::pack::{END, Holes, PackReport, Tree, pack_members, write_error};
use crate::progress::{Phase, Progress, Snapshot};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// What was written.
#[derive(Debug)]
pub(super) struct Layer {
    /// Of the archive before compression (OCI image configuration, `rootfs.diff_ids`).
    pub(super) diff_id: Digest,
    /// Of the bytes in the file.
    pub(super) digest: Digest,
    /// Number of bytes in the file.
    pub(super) size: u64,
    pub(super) report: PackReport,
}

/// Packs the tree into `out`.
pub(super) fn write(
    what: &Export<'_>,
    compression: Compression,
    holes: Holes,
    out: &mut dyn Write,
) -> Result<Layer> {
    let tree = Tree {
        holes,
        ..what.tree()
    };
    let encoder = Encoder::new(compression, Hashing::new(out))?;
    let mut archive = Counted::new(Hashing::new(encoder), what.progress);
    let report = pack_members(&tree, b"./", None, &mut archive)?;
    archive.write_all(&END).map_err(write_error)?;
    let (encoder, diff_id, _) = archive.finish().finish();
    let (out, digest, size) = encoder.finish()?.finish();
    out.flush().map_err(write_error)?;
    Ok(Layer {
        diff_id,
        digest,
        size,
        report,
    })
}

/// Hashes what goes through it.
struct Hashing<W> {
    out: W,
    hasher: Sha256,
    count: u64,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    fn finish(self) -> (W, Digest, u64) {
        let digest = Digest::from_hasher(self.hasher);
        (self.out, digest, self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tells how much went through it.
pub(super) struct Counted<'a, W> {
    out: W,
    progress: &'a dyn Progress,
    count: u64,
    told: u64,
}

impl<'a, W> Counted<'a, W> {
    pub(super) fn new(out: W, progress: &'a dyn Progress) -> Self {
        let mut new = Self {
            out,
            progress,
            count: 0,
            told: 0,
        };
        new.tell();
        new
    }

    pub(super) fn finish(mut self) -> W {
        self.tell();
        self.out
    }

    fn tell(&mut self) {
        self.told = self.count;
        self.progress.update(&Snapshot {
            phase: Phase::Packing,
            read_bytes: self.told,
            total_bytes: None,
            entries: 0,
            unpacked_bytes: self.told,
        });
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.count += u64::try_from(count).unwrap_or(0);
        if self.count - self.told >= 1 << 20 {
            self.tell();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
