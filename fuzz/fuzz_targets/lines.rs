//! Edits of lines: what is printed is what was parsed, and an edit touches nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::lines::Lines;

fuzz_target!(|input: (u32, &str, &str)| {
    let (number, new, text) = input;
    let before = Lines::parse(text);
    assert_eq!(before.to_string(), text);
    let mut after = before.clone();
    after.insert_after(number, new);
    assert_eq!(after.count(), before.count() + 1);
    after.replace(number, new);
    after.comment(number);
    after.push(new);
    assert_eq!(after.count(), before.count() + 2);
    // An empty line without an end is none when it is read again.
    let text = after.to_string();
    assert_eq!(Lines::parse(&text).to_string(), text);
});
