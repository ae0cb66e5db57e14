//! Never panics, whatever the text; and what is added is there afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::inittab;

fuzz_target!(|text: &str| {
    let entries = inittab::parse(text);
    for entry in &entries {
        let _ = entry.words();
    }
    let all: Vec<u32> = entries.iter().map(|entry| entry.line).collect();
    assert!(inittab::parse(&inittab::disable(text, &all)).is_empty());
    if let Some(id) = inittab::free_id(&entries, "co") {
        let after = all.get(text.len() % (all.len() + 1)).copied();
        let edited = inittab::add(text, after, &format!("{id}:2:once:/bin/x"));
        assert_eq!(inittab::parse(&edited).len(), entries.len() + 1);
    }
});
