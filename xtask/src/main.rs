//! Chores of this repository, run as `cargo xtask`.
//!
//! `check-deps`: crates of the workspace depend on each other only as ARCHITECTURE.md says.
//! `gen [--check]`: the lists of modules in the folders of extensions (inits, distributions, login stacks, sources) are sorted
//! and complete; rewrites them, or with `--check` fails. Man pages are no matter of it: `repot generate man DIR` makes
//! them where repot is installed, and they are not committed.
//! `old-kernels [--short] [--set CALLS]... [TEST...]`: the end-to-end tests with system calls hidden, as on older kernels.
//! `without CALLS -- PROGRAM ARGS`: a program with system calls hidden.
//! `soak [--rounds N] [--seed S] [--seconds T]`: kills repot's processes at random moments and looks what is left.
//! `density [--busybox N] [--systemd M] [--out DIR]`: many machines at once.
//! `table [--trees A,B] [--before] [--out DIR]`: every tree in every container system, by `repot try`.
//! `ci`: everything that is checked besides the tests.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod deps;
mod lists;
mod long;
mod old_kernels;

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask check-deps | gen [--check] | ci\n       \
    cargo xtask old-kernels [--short] [--set CALLS]... [TEST...] | without CALLS -- PROGRAM ARGS\n       \
    cargo xtask soak [--rounds N] [--seed S] [--seconds T]\n       \
    cargo xtask density [--busybox N] [--systemd M] [--out DIR]\n       \
    cargo xtask table [--trees A,B] [--before] [--out DIR]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["check-deps"] => deps::check(root()),
        ["gen"] => lists::generate(root(), lists::Mode::Write),
        ["gen", "--check"] => lists::generate(root(), lists::Mode::Check),
        ["old-kernels", args @ ..] => old_kernels::run(args),
        ["without", calls, "--", program @ ..] => old_kernels::without(calls, program),
        ["soak", args @ ..] => long::run("repot-soak", args),
        ["density", args @ ..] => long::run("repot-density", args),
        ["table", args @ ..] => long::run("repot-table", args),
        ["ci"] => ci(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// The workspace: the directory above this crate.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// What `.ci/run` does after the tests. Checks that need a tool which is not installed are named and left out.
fn ci() -> Result<()> {
    deps::check(root())?;
    lists::generate(root(), lists::Mode::Check)?;
    cargo("fmt --all --check")?;
    cargo("clippy --workspace --all-targets --locked -- -D warnings")?;
    cargo("doc --workspace --no-deps --locked --document-private-items")?;
    let has_deny = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if has_deny {
        // Advisories need the network: `cargo deny check advisories`.
        cargo("deny check bans licenses sources")?;
    } else {
        println!("left out: cargo deny (`cargo install cargo-deny --locked`)");
    }
    println!("all checks passed");
    Ok(())
}

/// Runs cargo in the workspace with arguments that hold no blanks.
fn cargo(args: &str) -> Result<()> {
    println!("cargo {args}");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args.split(' '))
        .current_dir(root())
        .env("RUSTDOCFLAGS", "-D warnings")
        .status()
        .with_context(|| format!("starting cargo {args}"))?;
    if !status.success() {
        bail!("cargo {args}: {status}");
    }
    Ok(())
}
