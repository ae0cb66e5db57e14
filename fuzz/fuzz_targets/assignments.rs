//! Fuzzes `assignments`: os-release(5), login.defs(5) and relatives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::assignments::{get, parse, parse_blank_separated};

fuzz_target!(|text: &str| {
    let found = parse(text);
    for assignment in &found {
        assert!(get(&found, &assignment.key).is_some());
        assert!(assignment.value.len() <= text.len());
    }
    parse_blank_separated(text);
});
