//! Fuzzes `shadow`: shadow(5).
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::shadow::parse;

fuzz_target!(|text: &str| {
    for entry in parse(text) {
        entry.hash.kind();
        entry.is_expired(20_000);
    }
});
