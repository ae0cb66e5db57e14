//! Fuzzes `securetty`: securetty(5), and names that are added.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::securetty::{parse, with};

fuzz_target!(|text: &str| {
    assert!(parse(text).iter().all(|name| !name.is_empty()) || text.contains("/dev/"));
    let names = ["tty1", "pts/0"];
    let more = with(text, &names);
    assert!(more.starts_with(text));
    let listed = parse(&more);
    assert!(
        names
            .iter()
            .all(|name| listed.iter().any(|known| known == name))
    );
    assert_eq!(with(&more, &names), more);
});
