//! Fuzzes `inittab`: inittab(5) in both dialects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::inittab::parse;

fuzz_target!(|text: &str| {
    for entry in parse(text) {
        entry.words();
        assert!(entry.line as usize <= text.lines().count());
    }
});
