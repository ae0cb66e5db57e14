//! Fuzzes `elf`: header and program headers of an ELF file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::elf::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(bytes) {
        let at = usize::try_from(header.headers_at).unwrap_or(usize::MAX);
        let table = bytes.get(at..).unwrap_or_default();
        if let Ok(Some(at)) = header.interpreter(table) {
            assert!(at.bytes <= 4096);
        }
    }
});
