//! Reading the maps of sparse files that come as blocks of the archive: after an old GNU header, or (PAX 1.0) in
//! front of the data. What a map may say is checked in `sparse`.

use super::header::unsigned;
use super::pax::decimal;
use super::sparse::{Extent, MAX_EXTENTS, SparseMap};
use super::{BLOCK, Members};
use crate::error::{Error, Result};
use crate::stream::Stream;
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

impl<S: Stream> Members<'_, S> {
    /// The map in an old GNU header and in the blocks after it, which are not counted in its size.
    pub(super) fn gnu_sparse(&mut self, header: &Header) -> Result<SparseMap> {
        let bad = self.damaged("a sparse file with a bad map");
        let Some(gnu) = header.as_gnu() else {
            return Err(bad);
        };
        let Some(real_size) = unsigned(&gnu.realsize) else {
            return Err(bad);
        };
        let mut extents = Vec::new();
        if push_extents(&mut extents, &gnu.sparse).is_none() {
            return Err(bad);
        }
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            if self.fill(next.as_mut_bytes())? != BLOCK {
                return Err(Error::Truncated {
                    offset: self.offset,
                    within: String::from("the map of a sparse file"),
                });
            }
            if push_extents(&mut extents, next.sparse()).is_none() || extents.len() > MAX_EXTENTS {
                return Err(bad);
            }
            more = next.is_extended();
        }
        Ok(SparseMap { extents, real_size })
    }

    /// The map of version 1.0: decimal lines at the start of the data, padded to a block.
    pub(super) fn sparse_in_data(&mut self, real_size: u64) -> Result<SparseMap> {
        let bad = self.damaged("a sparse file with a bad map");
        let begin = self.remaining;
        let Some(count) = self.line()?.and_then(|count| usize::try_from(count).ok()) else {
            return Err(bad);
        };
        if count > MAX_EXTENTS {
            return Err(bad);
        }
        let mut extents = Vec::new();
        for _ in 0..count {
            let (Some(offset), Some(length)) = (self.line()?, self.line()?) else {
                return Err(bad);
            };
            extents.push(Extent { offset, length });
        }
        let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
        let read = begin - self.remaining;
        let mut skip = read.next_multiple_of(block) - read;
        while skip > 0 && self.remaining > 0 {
            let available = u64::try_from(self.data()?.len()).unwrap_or(u64::MAX);
            let step = available.min(skip);
            self.consume(usize::try_from(step).unwrap_or(0));
            skip -= step;
        }
        Ok(SparseMap { extents, real_size })
    }

    /// A decimal number with its newline, from the member's data.
    fn line(&mut self) -> Result<Option<u64>> {
        let mut digits = Vec::new();
        loop {
            let Some(byte) = self.data()?.first().copied() else {
                return Ok(None);
            };
            self.consume(1);
            match byte {
                b'\n' => return Ok(decimal(&digits)),
                b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                _ => return Ok(None),
            }
        }
    }
}

fn push_extents(extents: &mut Vec<Extent>, fields: &[GnuSparseHeader]) -> Option<()> {
    for field in fields.iter().filter(|field| !field.is_empty()) {
        extents.push(Extent {
            offset: unsigned(&field.offset)?,
            length: unsigned(&field.numbytes)?,
        });
    }
    Some(())
}
