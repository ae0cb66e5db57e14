//! Prints what the rules find in trees for an engine that gives everything, with the time that they took.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program to look at results with"
)]

use repot_doctor::rules::Wishes;
use repot_doctor::{diagnose, inspect};
use repot_model::Offers;
use repot_rootfs::RootRead;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for dir in std::env::args().skip(1) {
        let root = RootRead::open(Path::new(&dir))?;
        let facts = inspect(&root)?;
        let start = std::time::Instant::now();
        let diagnosis = diagnose(
            &root,
            &facts,
            &Offers::everything(),
            &Wishes::default(),
            &|_| true,
        );
        println!("{dir}: {:?}", start.elapsed());
        for finding in &diagnosis.findings {
            println!(
                "  {} ({}, {}): {}",
                finding.rule, finding.severity, finding.certainty, finding.summary
            );
            for seen in &finding.evidence {
                println!(
                    "    {}:{}: {}",
                    seen.path,
                    seen.line.unwrap_or(0),
                    seen.seen
                );
            }
        }
        for (rule, why) in &diagnosis.unchecked {
            println!("  {rule} could not check: {why}");
        }
    }
    Ok(())
}
