//! Imports as a user would make them: real trees, hostile archives, and a store that is killed, raced and filled.
//!
//! Some need root (owners, devices, a small tmpfs); without it they say so and pass, unless the environment's
//! `REPOT_REQUIRED_TESTS` is set, as it is in CI.
#![cfg(test)]

mod damaged;
mod directory;
mod export;
mod export_all;
mod formats;
mod hostile;
mod layers;
mod raw;
mod remove;
mod roundtrip;
mod saved;
mod store;
mod tree;

/// Whether a test that needs root can run.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("REPOT_REQUIRED_TESTS").is_none(),
            "{test} needs root"
        );
        eprintln!("skipped: {test} needs root");
    }
    root
}
