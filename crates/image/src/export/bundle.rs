//! An archive of some small files and a tree, compressed as a whole.

use super::Export;
use super::compression::{Compression, Encoder};
use super::layer::Counted;
use crate::archive::BLOCK;
use crate::error::Result;
use crate::pack::header::{Entry, encode};
use crate::pack::{END, PackReport, pack_members, write_error};
use std::io::{BufWriter, Write};

/// A small file: its name in the archive, and what is in it.
pub(super) type Small<'a> = (&'a str, Vec<u8>);

/// Writes `before`, the tree as `top` (with a slash at its end), `behind`.
pub(super) fn write(
    what: &Export<'_>,
    before: &[Small<'_>],
    top: &str,
    behind: &[Small<'_>],
    out: impl Write,
) -> Result<PackReport> {
    let out = BufWriter::with_capacity(256 << 10, out);
    let mut out = Counted::new(Encoder::new(what.compression, out)?, what.progress);
    let created = what.meta.created;
    put(before, created, &mut out)?;
    let report = pack_members(&what.tree(), top.as_bytes(), None, &mut out)?;
    put(behind, created, &mut out)?;
    out.write_all(&END).map_err(write_error)?;
    out.finish().finish()?.flush().map_err(write_error)?;
    Ok(report)
}

/// An archive of small files alone.
pub(super) fn small(files: &[Small<'_>], compression: Compression, time: u64) -> Result<Vec<u8>> {
    let mut out = Encoder::new(compression, Vec::new())?;
    put(files, time, &mut out)?;
    out.write_all(&END).map_err(write_error)?;
    out.finish()
}

fn put(files: &[Small<'_>], time: u64, out: &mut dyn Write) -> Result<()> {
    for (name, bytes) in files {
        let mut member = encode(&Entry {
            path: name.as_bytes(),
            type_flag: b'0',
            mode: 0o644,
            mtime: (i64::try_from(time).unwrap_or(0), 0),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            ..Entry::default()
        });
        member.extend_from_slice(bytes);
        member.resize(member.len().next_multiple_of(BLOCK), 0);
        out.write_all(&member).map_err(write_error)?;
    }
    Ok(())
}
