//! A plain tar archive of the tree.

use super::{Export, layer};
use crate::error::Result;
use crate::pack::{Holes, PackReport};
use std::io::{BufWriter, Write};

pub(super) fn write(what: &Export<'_>, out: impl Write) -> Result<PackReport> {
    let mut out = BufWriter::with_capacity(256 << 10, out);
    let layer = layer::write(what, what.compression, Holes::Kept, &mut out)?;
    Ok(layer.report)
}
