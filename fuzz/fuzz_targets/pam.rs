//! Fuzzes `pam`: files of /etc/pam.d.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::pam::parse;

fuzz_target!(|text: &str| {
    assert!(parse(text).len() <= text.lines().count());
});
