//! Never panics, whatever the text; and edits do what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::interfaces;

fuzz_target!(|text: &str| {
    let before = interfaces::autos(text);
    let edited = interfaces::without_auto(text, "eth0");
    let left = interfaces::autos(&edited);
    assert!(left.iter().all(|auto| auto.device != "eth0"));
    assert!(left.len() <= before.len());
});
