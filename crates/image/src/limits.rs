//! How much an archive may cost before it is given up: against decompression bombs and absurd headers.

/// Limits of one import. Memory is bounded by construction; these bound disk, inodes and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries, including parent directories that the archive left out.
    pub max_entries: u64,
    /// Bytes of file data, of extension headers and of whatever follows the archive, all uncompressed.
    pub max_unpacked_bytes: u64,
    /// Size of one extension header (long names, PAX records with extended attributes).
    pub max_header_bytes: usize,
    /// Size of one extended attribute; the kernel's own limit is 64 KiB (`XATTR_SIZE_MAX`).
    pub max_xattr_bytes: usize,
    /// Memory that an xz or zstd decoder may take. 512 MiB is 8 times what `xz -9` needs.
    pub max_decoder_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: 8 << 20,
            max_unpacked_bytes: 64 << 30,
            max_header_bytes: 4 << 20,
            max_xattr_bytes: 64 << 10,
            max_decoder_bytes: 512 << 20,
        }
    }
}
