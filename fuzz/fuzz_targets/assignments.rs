//! Fuzzes `assignments`: os-release(5), login.defs(5) and relatives, and the editor of a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::assignments::{get, parse, parse_blank_separated, set};

fuzz_target!(|text: &str| {
    let found = parse(text);
    for assignment in &found {
        assert!(get(&found, &assignment.key).is_some());
        assert!(assignment.value.len() <= text.len());
    }
    parse_blank_separated(text);
    let once = set(text, "SELINUX", "disabled");
    assert_eq!(
        get(&parse(&once), "SELINUX")
            .map(|found| found.value.clone())
            .as_deref(),
        Some("disabled")
    );
    assert_eq!(set(&once, "SELINUX", "disabled"), once);
});
