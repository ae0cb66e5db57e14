//! Fuzzes `shadow`: shadow(5), and the editor of a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::shadow::{parse, set_password};

fuzz_target!(|text: &str| {
    for entry in parse(text) {
        entry.hash.kind();
        entry.is_expired(20_000);
    }
    let once = set_password(text, "root", "$6$a$b", 20_000);
    let root = parse(&once).into_iter().find(|entry| entry.name == "root");
    assert!(root.is_some_and(|root| root.hash.0 == "$6$a$b"));
    assert_eq!(set_password(&once, "root", "$6$a$b", 20_000), once);
});
