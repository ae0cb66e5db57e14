//! Fuzzes `seccomp`: profiles for --seccomp, from bytes to the programs for the kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_runtime::{check_profile, parse_profile};

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = parse_profile(bytes) else {
        return;
    };
    let printed = serde_json::to_vec(&profile).expect("a profile can be printed");
    assert_eq!(
        parse_profile(&printed).expect("what was printed can be read"),
        profile
    );
    // Too long a profile is refused; nothing else is.
    let _ = check_profile(&profile);
});
