//! The long runs, `soak` and `density`: builds repot optimized, as users have it, and the program that drives it, then
//! starts that one.

use crate::root;
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs `repot-NAME` of the test kit on a new repot.
pub(crate) fn run(name: &str, args: &[&str]) -> Result<()> {
    let repot = build(&["--package", "repot", "--release"], "repot")?;
    let driver = build(&["--package", "repot-e2e", "--bins"], name)?;
    let status = Command::new(&driver)
        .args(args)
        .env("REPOT_BIN", repot)
        .status()
        .with_context(|| format!("starting {}", driver.display()))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}

/// Builds, and asks cargo where it put the program.
fn build(args: &[&str], program: &str) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .arg("build")
        .args(args)
        .args(["--locked", "--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo build")?;
    ensure!(output.status.success(), "cargo build: {}", output.status);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if message["target"]["name"] == program
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no {program}")
}
