//! The head of an ELF file (elf(5)): architecture, kind, and where the name of the dynamic loader stands.
//!
//! Written by hand since 40 lines do: `object` and `goblin` parse whole files and want all of it in memory. Every
//! read is checked; offsets of the file are only ever reported, the reader fetches them.

/// The most program headers that are looked at. Programs have about a dozen; the field goes to 65535.
const PROGRAM_HEADERS_MAX: u16 = 128;

/// Length of the longest ELF header, that of 64-bit files.
pub const HEADER_BYTES: u64 = 64;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `e_machine`.
    pub machine: u16,
    /// `EI_CLASS` is `ELFCLASS64`.
    pub is_64: bool,
    /// `EI_DATA` is `ELFDATA2LSB`.
    pub is_little: bool,
    /// `e_type` is `ET_EXEC` or `ET_DYN`, so the kernel may execute it.
    pub is_program: bool,
    /// Where the program headers begin.
    pub headers_at: u64,
    /// Length of one of them.
    pub header_bytes: u16,
    /// How many there are, at most 128.
    pub headers: u16,
}

/// Why a file is not an ELF file that could be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It does not begin with the magic number.
    #[error("no ELF file")]
    NoElf,
    /// It ends before its header does.
    #[error("an ELF file that was cut off")]
    Truncated,
    /// Class, byte order or sizes are none that exist.
    #[error("an ELF file with a broken header")]
    Broken,
}

/// Where the dynamic loader's name stands in the file: offset and length, from `PT_INTERP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterpreterAt {
    /// Offset in the file.
    pub offset: u64,
    /// Length with its NUL; at most `PATH_MAX`, as the kernel demands (`fs/binfmt_elf.c`).
    pub bytes: u64,
}

impl Header {
    /// Parses the first bytes of a file; [`HEADER_BYTES`] are enough.
    ///
    /// # Errors
    /// [`ElfError`] if this is no ELF header.
    pub fn parse(head: &[u8]) -> Result<Self, ElfError> {
        if !head.starts_with(b"\x7fELF") {
            return Err(ElfError::NoElf);
        }
        let &[_, _, _, _, class, data, ..] = head else {
            return Err(ElfError::Truncated);
        };
        let (is_64, is_little) = match (class, data) {
            (1, 1) => (false, true),
            (1, 2) => (false, false),
            (2, 1) => (true, true),
            (2, 2) => (true, false),
            _ => return Err(ElfError::Broken),
        };
        let read = Reader {
            bytes: head,
            is_little,
        };
        // Offsets of e_phoff, e_phentsize, e_phnum for the two classes.
        let (headers_at, sizes_at, least) = if is_64 {
            (read.u64(32), 54, 56)
        } else {
            (read.u32(28).map(u64::from), 42, 32)
        };
        let header = Self {
            machine: read.u16(18).ok_or(ElfError::Truncated)?,
            is_64,
            is_little,
            is_program: matches!(read.u16(16), Some(2 | 3)),
            headers_at: headers_at.ok_or(ElfError::Truncated)?,
            header_bytes: read.u16(sizes_at).ok_or(ElfError::Truncated)?,
            headers: read
                .u16(sizes_at + 2)
                .ok_or(ElfError::Truncated)?
                .min(PROGRAM_HEADERS_MAX),
        };
        if header.headers > 0 && header.header_bytes < least {
            return Err(ElfError::Broken);
        }
        Ok(header)
    }

    /// Length of all program headers in bytes.
    pub fn table_bytes(&self) -> u64 {
        u64::from(self.header_bytes) * u64::from(self.headers)
    }

    /// Looks through the program headers, as read from [`Self::headers_at`], for `PT_INTERP`.
    ///
    /// # Errors
    /// [`ElfError::Broken`] if the loader's name is longer than a path may be.
    pub fn interpreter(&self, table: &[u8]) -> Result<Option<InterpreterAt>, ElfError> {
        const PT_INTERP: u32 = 3;
        const PATH_MAX: u64 = 4096;
        for entry in table.chunks_exact(usize::from(self.header_bytes.max(1))) {
            let read = Reader {
                bytes: entry,
                is_little: self.is_little,
            };
            if read.u32(0) != Some(PT_INTERP) {
                continue;
            }
            // p_offset and p_filesz.
            let (offset, bytes) = if self.is_64 {
                (read.u64(8), read.u64(32))
            } else {
                (read.u32(4).map(u64::from), read.u32(16).map(u64::from))
            };
            let (Some(offset), Some(bytes @ 2..=PATH_MAX)) = (offset, bytes) else {
                return Err(ElfError::Broken);
            };
            return Ok(Some(InterpreterAt { offset, bytes }));
        }
        Ok(None)
    }
}

/// Bounds-checked reads in one byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl Reader<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut array: [u8; N] = self.bytes.get(at..)?.first_chunk().copied()?;
        if !self.is_little {
            array.reverse();
        }
        Some(array)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf64(machine: u16, headers: u16) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        head[16] = 3;
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56..58].copy_from_slice(&headers.to_le_bytes());
        head
    }

    #[test]
    fn headers() {
        let header = Header::parse(&elf64(62, 1)).unwrap();
        assert_eq!(
            (header.machine, header.is_64, header.is_program),
            (62, true, true)
        );
        let mut table = vec![0; 56];
        assert_eq!(header.interpreter(&table), Ok(None));
        table[0] = 3;
        table[8] = 120;
        table[32] = 28;
        let at = InterpreterAt {
            offset: 120,
            bytes: 28,
        };
        assert_eq!(header.interpreter(&table), Ok(Some(at)));
        table[33] = 0xff;
        assert_eq!(header.interpreter(&table), Err(ElfError::Broken));
    }

    #[test]
    fn big_endian_32_bit() {
        let mut head = vec![0; 52];
        head[..7].copy_from_slice(b"\x7fELF\x01\x02\x01");
        head[17] = 2;
        head[19] = 20;
        head[31] = 52;
        head[43] = 32;
        head[45] = 1;
        let header = Header::parse(&head).unwrap();
        assert_eq!(
            (header.machine, header.headers_at, header.headers),
            (20, 52, 1)
        );
        assert!(!header.is_little && !header.is_64);
    }

    #[test]
    fn broken_files() {
        for (head, error) in [
            (b"".to_vec(), ElfError::NoElf),
            (b"#!/bin/sh".to_vec(), ElfError::NoElf),
            (b"\x7fELF".to_vec(), ElfError::Truncated),
            (elf64(62, 1)[..40].to_vec(), ElfError::Truncated),
            (b"\x7fELF\x07\x01".to_vec(), ElfError::Broken),
        ] {
            assert_eq!(Header::parse(&head), Err(error), "{head:?}");
        }
        let mut small = elf64(62, 1);
        small[54] = 1;
        assert_eq!(Header::parse(&small), Err(ElfError::Broken));
    }
}
