//! Fuzzes `escapes`: what a machine writes, on its way to its user's terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_runtime::escapes::{Filter, replay};

fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = Filter::default();
    let mut shown = Vec::new();
    for piece in pieces {
        filter.feed(piece, &mut shown);
    }
    shown
}

fuzz_target!(|bytes: &[u8]| {
    let shown = filtered(&[bytes]);
    // What passes is text that passes again: nothing forbidden comes to be by leaving things out. The title is saved once
    // more by the second filter.
    let save = b"\x1b[22;0t";
    let again: Vec<u8> = filtered(&[&shown]);
    let without =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*String::from_utf8_lossy(save), "");
    assert_eq!(without(&again), without(&shown));
    // The borders between pieces mean nothing.
    let middle = bytes.len() / 2;
    assert_eq!(filtered(&[&bytes[..middle], &bytes[middle..]]), shown);
    for forbidden in [
        b"\x1b]5".as_slice(),
        b"\x1bP",
        b"\x1b_",
        b"\x1b^",
        b"\x05",
        b"\xc2\x9b",
    ] {
        assert!(
            !shown
                .windows(forbidden.len())
                .any(|window| window == forbidden)
        );
    }
    assert!(replay(&shown).iter().filter(|byte| **byte == 0x1b).count() <= shown.len());
});
