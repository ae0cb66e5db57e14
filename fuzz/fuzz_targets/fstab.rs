//! Never panics, whatever the text; and edits do what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::fstab;

fuzz_target!(|text: &str| {
    for entry in fstab::parse(text) {
        let _ = (entry.needs_device(), entry.has_option("noauto"));
    }
    let all: Vec<u32> = fstab::parse(text).iter().map(|entry| entry.line).collect();
    assert!(fstab::parse(&fstab::disable(text, &all)).is_empty());
    assert_eq!(fstab::disable(text, &[]), text);
});
