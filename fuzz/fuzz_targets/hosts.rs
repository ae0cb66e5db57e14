//! Never panics, whatever the text; and edits do what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::hosts;

fuzz_target!(|text: &str| {
    let edited = hosts::add(text, "127.0.0.1", "localhost");
    assert!(hosts::has_name(&edited, "localhost"));
});
