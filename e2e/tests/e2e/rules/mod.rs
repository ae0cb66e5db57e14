//! The rules, each on a tree that was broken on purpose: what happens without it, seen, and the login that it brings.

mod boot;
mod by_hand;
mod hand;
mod login;
mod patient;
mod plain;
mod resolver;
mod seen;
mod starts;
mod terminals;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::sandbox::Sandbox;

/// Every rule has its row in `docs/proofs.md`, and the tests that it names exist.
#[test]
fn the_page_of_proofs() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../docs/proofs.md"))?;
    let mut proven = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (rule, tests) = cells.next().zip(cells.next()).context("reading a row")?;
        ensure!(proven.insert(rule.to_owned()), "{rule} stands there twice");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        ensure!(!names.is_empty() || tests == "none", "{row}");
        for test in names {
            let (module, name) = test.rsplit_once("::").context("reading a test")?;
            let place = here.join("tests/e2e").join(module.replace("::", "/"));
            let text = fs::read_to_string(place.with_extension("rs"))
                .with_context(|| format!("looking for {test}"))?;
            // Those of the tables are made by macros, one of which has all trees.
            let is_there = text.contains(&format!("fn {name}("))
                || text.contains(&format!("{name} ="))
                || text.contains("all_trees!");
            ensure!(is_there, "there is no {test}");
        }
    }
    let known = sandbox.ok(&["explain"])?;
    let known: BTreeSet<String> = known
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next().map(str::to_owned))
        .collect();
    ensure!(proven == known, "{:?}", proven.symmetric_difference(&known));
    sandbox.finish()
}
