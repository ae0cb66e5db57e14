//! `repot-soak [--rounds N] [--seed S] [--seconds T]`: kills repot's processes at random moments and looks what is left.
//!
//! Each round takes a tree, a command, a process and a moment from the seed. It starts the command, kills the process with
//! SIGKILL at that moment, has one more command run, and then expects either a machine that answers or nothing at all: no
//! process, mount, cgroup, lock or state. Then the same machine is booted again and removed. A second machine runs all
//! the time and must not notice. `REPOT_BIN` names the program; `cargo xtask soak` builds it and starts this.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod plan;
mod round;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use round::{Outcome, Rounds};

const USAGE: &str = "usage: repot-soak [--rounds N] [--seed S] [--seconds T]";

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Options {
    rounds: u64,
    seed: u64,
    seconds: u64,
}

fn main() -> ExitCode {
    let done = options().and_then(soak);
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("repot-soak: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        rounds: 1000,
        seed: 1,
        seconds: u64::MAX,
    };
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args.next().and_then(|value| value.parse().ok());
        let value: u64 = value.with_context(|| format!("{option} wants a number\n{USAGE}"))?;
        match option.as_str() {
            "--rounds" => options.rounds = value,
            "--seed" => options.seed = value,
            "--seconds" => options.seconds = value,
            _ => bail!("{option}: unknown\n{USAGE}"),
        }
    }
    Ok(options)
}

/// Whether nothing was found.
fn soak(options: Options) -> Result<bool> {
    let started = Instant::now();
    let mut rounds = Rounds::new(options.seed)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut findings = Vec::new();
    let (mut struck, mut number) = (0, 0);
    while struck < options.rounds && started.elapsed() < Duration::from_secs(options.seconds) {
        number += 1;
        let plan = rounds.plan(number);
        match rounds.round(number, &plan) {
            Ok(Outcome::TooLate) => {}
            Ok(Outcome::Struck) => {
                struck += 1;
                for key in [
                    format!("  command  {}", plan.verb),
                    format!("  killed   {}", plan.victim),
                    format!("  tree     {}", plan.tree),
                ] {
                    *counts.entry(key).or_default() += 1;
                }
            }
            Err(error) => {
                struck += 1;
                println!("round {number}: {plan}: {error:#}");
                findings.push(number);
            }
        }
        if struck % 50 == 0 {
            println!(
                "{struck} of {} rounds after {} s, {} findings",
                options.rounds,
                started.elapsed().as_secs(),
                findings.len()
            );
        }
    }
    rounds.finish()?;
    println!(
        "seed {}: {struck} rounds with a killed process ({} more where it was too late) in {} s; leftovers or failures in {} {findings:?}",
        options.seed,
        number - struck,
        started.elapsed().as_secs(),
        findings.len()
    );
    for (key, count) in counts {
        println!("{key}: {count}");
    }
    Ok(findings.is_empty())
}
