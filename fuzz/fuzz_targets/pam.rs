//! Fuzzes `pam`: files of /etc/pam.d, and the editors of a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::pam::{What, comment_out, parse, set_control};

fuzz_target!(|text: &str| {
    let lines = parse(text);
    assert!(lines.len() <= text.lines().count());
    for line in lines.iter().take(4) {
        let without = parse(&comment_out(text, line.line));
        assert!(without.iter().all(|other| other.line != line.line));
        if let Some(edited) = set_control(text, line.line, "optional") {
            assert_eq!(edited.lines().count(), text.lines().count());
            let found = parse(&edited)
                .into_iter()
                .find(|other| other.line == line.line);
            assert!(found.is_some_and(|found| {
                matches!(found.what, What::Module { control, .. } if control == "optional")
            }));
        }
    }
});
