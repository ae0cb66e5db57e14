//! Fuzzes `passwd`: passwd(5) and group(5).
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::passwd::{parse_groups, parse_users};

fuzz_target!(|text: &str| {
    parse_users(text);
    parse_groups(text);
});
