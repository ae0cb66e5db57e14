//! Which crate of the workspace may use which: the table in ARCHITECTURE.md, compared with `cargo metadata`.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Every crate with those that it may depend on, tests included. A crate that is not here may not exist.
const ALLOWED: &[(&str, &str)] = &[
    (
        "repot",
        "repot-doctor repot-engines repot-image repot-model repot-rootfs repot-runtime",
    ),
    ("repot-doctor", "repot-model repot-rootfs"),
    // Pure plans, and questions to the engines' own programs: who acts is the runtime.
    ("repot-engines", "repot-model repot-rootfs"),
    // The test kit knows repot as a program only.
    ("repot-e2e", ""),
    ("repot-image", "repot-model repot-rootfs"),
    ("repot-model", ""),
    ("repot-rootfs", "repot-model"),
    ("repot-runtime", "repot-model repot-rootfs repot-sys"),
    ("repot-sys", ""),
    // Its `without` installs a system-call filter.
    ("xtask", "repot-sys"),
];

pub(crate) fn check(root: &Path) -> Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .current_dir(root)
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let wrong = violations(&metadata)?;
    if !wrong.is_empty() {
        bail!(
            "{}; ARCHITECTURE.md and xtask/src/deps.rs say which edges exist",
            wrong.join("; ")
        );
    }
    println!("check-deps: only allowed edges");
    Ok(())
}

/// The edges and crates that the table does not have.
fn violations(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let from = name(package);
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == from) else {
            wrong.push(format!("crate {from} is not in the table"));
            continue;
        };
        let used: BTreeSet<String> = package["dependencies"]
            .as_array()
            .context("no dependencies")?
            .iter()
            .map(name)
            .collect();
        wrong.extend(
            used.intersection(&members)
                .filter(|to| !allowed.split(' ').any(|known| known == *to))
                .map(|to| format!("{from} must not use {to}")),
        );
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_edges_are_found() {
        let metadata = serde_json::json!({"packages": [
            {"name": "repot-doctor", "dependencies": [{"name": "repot-sys"}, {"name": "repot-model"}, {"name": "serde"}]},
            {"name": "repot-sys", "dependencies": []},
            {"name": "repot-model", "dependencies": []},
            {"name": "repot-extra", "dependencies": []},
        ]});
        assert_eq!(
            violations(&metadata).unwrap(),
            [
                "repot-doctor must not use repot-sys",
                "crate repot-extra is not in the table"
            ]
        );
    }
}
