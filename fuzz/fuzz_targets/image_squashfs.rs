//! Fuzzes the reading of squashfs images: whatever the bytes, no panic, no endless loop, and what comes out can be taken for a tar
//! archive: the fuzz target `image_tar` shows that this harms nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_image::{Limits, squashfs_to_tar};
use std::io::{self, Write};

/// Takes as much as an import might, then no more.
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len() as u64)
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        max_header_bytes: 1 << 16,
        max_decoder_bytes: 32 << 20,
        ..Limits::default()
    };
    let _ = squashfs_to_tar(bytes, &limits, &mut Sink(16 << 20));
});
