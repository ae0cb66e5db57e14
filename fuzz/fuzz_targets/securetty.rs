//! Fuzzes `securetty`: securetty(5).
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::securetty::parse;

fuzz_target!(|text: &str| {
    assert!(parse(text).iter().all(|name| !name.is_empty()) || text.contains("/dev/"));
});
