//! Fuzzes `limits`: limits.conf(5), and lines that become comments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::limits::{parse, without};

fuzz_target!(|text: &str| {
    let limits = parse(text);
    let lines: Vec<u32> = limits.iter().map(|limit| limit.line).collect();
    let edited = without(text, &lines);
    assert!(parse(&edited).is_empty());
    assert_eq!(edited.lines().count(), text.lines().count());
    assert_eq!(without(text, &[]), text);
});
