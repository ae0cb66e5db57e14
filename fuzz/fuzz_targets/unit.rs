//! Fuzzes `unit`: systemd unit files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_rootfs::format::unit::{get, parse};

fuzz_target!(|text: &str| {
    let found = parse(text);
    for setting in &found {
        assert!(get(&found, &setting.section, &setting.key).is_some());
    }
});
