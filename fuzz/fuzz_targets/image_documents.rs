//! Fuzzes the JSON documents of OCI and Docker images: whatever the bytes, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_image::parse_documents;

fuzz_target!(|bytes: &[u8]| {
    parse_documents(bytes);
});
