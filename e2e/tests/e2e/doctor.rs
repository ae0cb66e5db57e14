//! `doctor`, `explain` and the cause of a failed boot: what they say, and their exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::Tree;
use serde_json::Value;

use crate::sandbox::{Sandbox, utf8};

/// A tree of the kit needs nothing natively but, at the most, what `boot` gives by itself.
#[test]
fn healthy_trees_boot_by_themselves() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    for name in ["bookworm-systemd", "bookworm-sysvinit", "busybox-alpine"] {
        let tree = sandbox.base(Tree::named(name)?)?;
        let done = sandbox.repot(&["doctor", &tree, "--json"])?;
        let document: Value = serde_json::from_str(&done.out())?;
        let findings = document["engines"][0]["findings"]
            .as_array()
            .cloned()
            .context("reading the findings")?;
        ensure!(
            findings
                .iter()
                .all(|finding| finding["severity"] != "no-boot"),
            "{name}: {findings:?}"
        );
        ensure!(
            done.code == i32::from(!findings.is_empty()),
            "{name}: {done}"
        );
    }
    sandbox.finish()
}

#[test]
fn engines_are_compared() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("trixie-guix")?)?;
    let done = sandbox.repot(&["doctor", &tree, "--for", "all", "--json"])?;
    let document: Value = serde_json::from_str(&done.out())?;
    let engines = document["engines"].as_array().context("reading engines")?;
    let named = |name: &str| {
        engines
            .iter()
            .find(|engine| engine["engine"] == name)
            .with_context(|| format!("finding {name}"))
    };
    let rules = |name: &str| -> Result<Vec<String>> {
        let findings = named(name)?["findings"].as_array().cloned();
        Ok(findings
            .context("reading findings")?
            .iter()
            .filter_map(|finding| Some(finding["rule"].as_str()?.to_owned()))
            .collect())
    };
    // nspawn looks for os-release before anything runs; the native runtime does not.
    ensure!(rules("nspawn")?.contains(&"os-release".to_owned()));
    ensure!(!rules("native")?.contains(&"os-release".to_owned()));
    let table = sandbox.repot(&["doctor", &tree, "--for", "all"])?;
    ensure!(table.code == 1 && table.out().contains("RULE"), "{table}");
    sandbox.finish()
}

#[test]
fn rules_are_explained() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let list = sandbox.ok(&["explain"])?;
    ensure!(list.contains("os-release"), "{list}");
    let page = sandbox.ok(&["explain", "os-release"])?;
    ensure!(page.contains("Sources"), "{page}");
    let unknown = sandbox.repot(&["explain", "no-such-rule"])?;
    ensure!(
        unknown.code == 3 && unknown.err().contains("repot explain"),
        "{unknown}"
    );
    sandbox.finish()
}

#[test]
fn the_host_is_looked_at() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let done = sandbox.repot(&["doctor", "--host", "--json"])?;
    let document: Value = serde_json::from_str(&done.out())?;
    let items = document["host"].as_array().context("reading the items")?;
    for what in ["Linux", "cgroups", "ID-mapped mounts", "native"] {
        ensure!(
            items.iter().any(|item| item["what"] == what),
            "{what} is missing in {items:?}"
        );
    }
    sandbox.finish()
}

/// Without an initdefault line sysvinit asks for a runlevel: no prompt comes, and the error says why, with the line of the log.
#[test]
fn a_boot_without_a_prompt_names_the_cause() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let copy = sandbox.dir().join("tree");
    Tree::named("bookworm-sysvinit")?.copy_to(&copy)?;
    let inittab = copy.join("etc/inittab");
    let text = fs::read_to_string(&inittab)?;
    let without: String = text
        .lines()
        .filter(|line| !line.contains(":initdefault:"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&inittab, without)?;
    let name = sandbox.name();
    let copy = utf8(&copy)?;
    let args = ["boot", &copy, "-d", "-n", &name, "--timeout", "5"];
    let done = sandbox.repot(&args)?;
    ensure!(
        done.code == 3 && done.err().contains("initdefault"),
        "{done}"
    );
    // The same from the machine itself, running and dead.
    let alive = sandbox.repot(&["doctor", &name])?;
    ensure!(
        alive.code == 1 && alive.out().contains("Enter runlevel"),
        "{alive}"
    );
    sandbox.ok(&["kill", &name])?;
    let dead = sandbox.repot(&["doctor", &name])?;
    ensure!(
        dead.code == 1 && dead.out().contains("initdefault"),
        "{dead}"
    );
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// An init that cannot be executed is mended in the layer, and all else goes by what it is then.
#[test]
fn an_init_without_its_execute_bit_boots() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let copy = sandbox.dir().join("tree");
    Tree::named("bookworm-sysvinit")?.copy_to(&copy)?;
    let init = copy.join("sbin/init");
    fs::set_permissions(&init, fs::Permissions::from_mode(0o644))?;
    let copy = utf8(&copy)?;
    let refused = sandbox.repot(&["boot", &copy, "-d", "--no-fix"])?;
    ensure!(
        refused.code == 3 && refused.err().contains("not executable"),
        "{refused}"
    );
    for engine in ["native", "nspawn"] {
        let name = sandbox.name();
        sandbox.ok(&["boot", &copy, "--on", engine, "-d", "-n", &name])?;
        ensure!(sandbox.exec(&name, &["cat", "/proc/1/comm"])? == "init");
        sandbox.ok(&["stop", &name])?;
        sandbox.ok(&["rm", &name])?;
    }
    ensure!(fs::metadata(&init)?.permissions().mode() & 0o777 == 0o644);
    // Nor does it take two goes of `fix`, of which the second knows which init that is.
    let listed = |words: &[&str]| -> Result<Vec<String>> {
        let done = sandbox.repot(&[words, &["--for", "nspawn", "--json"]].concat())?;
        let document: serde_json::Value = serde_json::from_str(&done.out())?;
        let findings = match words[0] {
            "doctor" => &document["engines"][0]["findings"],
            _ => &document["mended"],
        };
        let findings = findings.as_array().context("reading findings")?;
        let rules = findings
            .iter()
            .filter_map(|finding| finding["rule"].as_str());
        Ok(rules.map(str::to_owned).collect())
    };
    for words in [["doctor", &copy], ["fix", &copy]] {
        let rules = listed(&words)?;
        for rule in ["no-init", "console-silent"] {
            ensure!(
                rules.iter().any(|listed| listed == rule),
                "{words:?}: {rules:?}"
            );
        }
    }
    ensure!(
        listed(&["fix", &copy])?.is_empty(),
        "fixing twice changes something"
    );
    sandbox.finish()
}
