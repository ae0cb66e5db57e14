//! Prints the facts and needs of trees as JSON, with the time that the inspection took on standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program to look at results with"
)]

use repot_doctor::{inspect, needs};
use repot_rootfs::RootRead;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for dir in std::env::args().skip(1) {
        let start = std::time::Instant::now();
        let facts = inspect(&RootRead::open(Path::new(&dir))?)?;
        let needs = needs(&facts);
        eprintln!("{dir}: {:?}", start.elapsed());
        let both = serde_json::json!({ "facts": facts, "needs": needs });
        println!("{}", serde_json::to_string_pretty(&both)?);
    }
    Ok(())
}
