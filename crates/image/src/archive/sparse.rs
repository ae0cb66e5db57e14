//! Files with holes: where the data of a member belongs.
//!
//! Four encodings (GNU tar's manual, "Storing Sparse Files"): the old GNU header type `S` with a map in the
//! header and in blocks after it, and three PAX versions - 0.0 with one record per number, 0.1 with the map in
//! one record, 1.0 with the map as decimal lines in front of the data.

use super::pax::decimal;

/// A piece of data and where it belongs in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where the data belongs, and the size of the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) extents: Vec<Extent>,
    pub(crate) real_size: u64,
}

/// More pieces than any program writes for a file that fits a disk; bounds memory at 16 MiB.
pub(crate) const MAX_EXTENTS: usize = 1 << 20;

impl SparseMap {
    /// Checks that pieces are in order, within the file, and add up to the data that the archive has.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn checked(self, data: u64) -> Result<Self, &'static str> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for extent in &self.extents {
            if extent.offset < end {
                return Err("pieces of a sparse file overlap");
            }
            end = extent
                .offset
                .checked_add(extent.length)
                .filter(|end| *end <= self.real_size)
                .ok_or("a piece of a sparse file is beyond its end")?;
            // Cannot overflow: pieces do not overlap and end within 64 bits.
            sum += extent.length;
        }
        if sum != data {
            return Err("the pieces of a sparse file do not add up to its data");
        }
        Ok(self)
    }
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PaxSparse {
    /// The file's real name; the header has a made-up one (0.1, 1.0).
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Version 1.0: the map comes with the data.
    pub(crate) map_in_data: bool,
    extents: Vec<Extent>,
    pending: Option<u64>,
}

impl PaxSparse {
    /// One record, its key without `GNU.sparse.`.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "bad sparse map in a PAX record";
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(decimal(value).ok_or(BAD)?),
            b"major" => self.map_in_data = value == b"1",
            b"offset" | b"numbytes" => self.number(decimal(value).ok_or(BAD)?)?,
            b"map" => {
                self.extents.clear();
                for number in value.split(|byte| *byte == b',') {
                    self.number(decimal(number).ok_or(BAD)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The map of version 0.0 or 0.1, if there is one.
    pub(crate) fn into_map(self) -> Result<Option<SparseMap>, &'static str> {
        if self.pending.is_some() {
            return Err("a sparse map with an odd number of numbers");
        }
        Ok(self.real_size.map(|real_size| SparseMap {
            extents: self.extents,
            real_size,
        }))
    }

    fn number(&mut self, number: u64) -> Result<(), &'static str> {
        match self.pending.take() {
            None => self.pending = Some(number),
            Some(_) if self.extents.len() >= MAX_EXTENTS => {
                return Err("a sparse file in too many pieces");
            }
            Some(offset) => self.extents.push(Extent {
                offset,
                length: number,
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(extents: &[(u64, u64)], real_size: u64) -> SparseMap {
        let extents = extents
            .iter()
            .map(|(offset, length)| Extent {
                offset: *offset,
                length: *length,
            })
            .collect();
        SparseMap { extents, real_size }
    }

    #[test]
    fn maps_must_fit() {
        assert!(
            map(&[(0, 512), (1024, 10), (2048, 0)], 2048)
                .checked(522)
                .is_ok()
        );
        assert!(map(&[], 1 << 40).checked(0).is_ok());
        assert!(map(&[(0, 512), (511, 1)], 2048).checked(513).is_err());
        assert!(map(&[(0, 512)], 511).checked(512).is_err());
        assert!(map(&[(0, 512)], 512).checked(511).is_err());
        assert!(map(&[(u64::MAX, 2)], u64::MAX).checked(2).is_err());
    }

    #[test]
    fn records_of_both_versions() {
        let mut old = PaxSparse::default();
        for (key, value) in [
            ("size", "100"),
            ("offset", "0"),
            ("numbytes", "5"),
            ("offset", "50"),
            ("numbytes", "6"),
        ] {
            old.set(key.as_bytes(), value.as_bytes()).unwrap();
        }
        let mut new = PaxSparse::default();
        new.set(b"map", b"0,5,50,6").unwrap();
        new.set(b"realsize", b"100").unwrap();
        let expected = map(&[(0, 5), (50, 6)], 100);
        assert_eq!(old.into_map().unwrap().unwrap(), expected);
        assert_eq!(new.into_map().unwrap().unwrap(), expected);
        let mut odd = PaxSparse::default();
        odd.set(b"map", b"0,5,50").unwrap();
        assert!(odd.into_map().is_err());
    }
}
