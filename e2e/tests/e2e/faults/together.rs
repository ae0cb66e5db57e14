//! Several commands at the same time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, Sandbox};
use repot_e2e::process;

/// Names whose machines would have the same range of IDs (`idmap::choose`): FNV-1a modulo the number of ranges.
fn colliding(sandbox: &Sandbox, count: usize) -> Result<Vec<String>> {
    let ranges = (1_879_048_191 - 524_288) / 65536;
    let mut by_range: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let stem = sandbox.name();
    for number in 0..1_000_000 {
        let name = format!("{stem}-{number}");
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let names = by_range.entry(hash % ranges).or_default();
        names.push(name);
        if names.len() == count {
            return Ok(names.clone());
        }
    }
    anyhow::bail!("no {count} names have the same range")
}

/// Machines that start at the same moment and would choose the same range of IDs get one each.
#[test]
fn no_two_machines_share_a_range_of_ids() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let names = colliding(&sandbox, 4)?;
    let boots = names
        .iter()
        .map(|name| {
            Ok(sandbox
                .command(&["boot", &tree, "-d", "-n", name])?
                .spawn()?)
        })
        .collect::<Result<Vec<_>>>()?;
    for mut boot in boots {
        let status = process::wait(&mut boot, LONG)?;
        ensure!(status.success(), "a boot ended with {status}");
    }
    let mut bases = BTreeSet::new();
    for name in &names {
        let status = sandbox.status(name)?;
        let base = status["running"]["spec"]["idmap"]["base"].as_u64();
        bases.insert(base.with_context(|| format!("{name} has no range: {status}"))?);
    }
    ensure!(bases.len() == names.len(), "they share ranges: {bases:?}");
    sandbox.ok(&["stop", "--all"])?;
    for name in &names {
        sandbox.ok(&["rm", name])?;
    }
    sandbox.finish()
}

/// Starts the commands at the same moment; how they ended.
fn race(sandbox: &Sandbox, commands: &[&[&str]]) -> Result<Vec<i32>> {
    let children = commands
        .iter()
        .map(|args| Ok(sandbox.command(args)?.spawn()?))
        .collect::<Result<Vec<_>>>()?;
    children
        .into_iter()
        .map(|mut child| {
            let status = process::wait(&mut child, LONG)?;
            status.code().context("a command was killed")
        })
        .collect()
}

/// Two commands on one machine at once: each gets what it wanted or says why not, and the machine is whole afterwards.
#[test]
fn two_commands_on_one_machine() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    let boot: &[&str] = &["boot", &tree, "-d", "-n", &name];
    let mut codes = race(&sandbox, &[boot, boot])?;
    codes.sort_unstable();
    ensure!(codes == [0, 3], "boot and boot: {codes:?}");
    let (stop, exec): (&[&str], &[&str]) = (&["stop", &name], &["exec", &name, "/bin/sleep", "1"]);
    let pairs: [(&[&str], &[&str]); 5] = [
        (stop, stop),
        (&["rm", "--force", &name], boot),
        (&["reboot", &name], stop),
        (&["kill", &name], exec),
        (&["rm", "--force", &name], exec),
    ];
    for (one, other) in pairs {
        if sandbox.state(&name)? != "running" {
            sandbox.repot(boot)?;
        }
        let codes = race(&sandbox, &[one, other])?;
        ensure!(
            codes
                .iter()
                .all(|code| matches!(code, 0 | 1 | 3 | 125 | 126 | 137)),
            "{one:?} and {other:?}: {codes:?}"
        );
        sandbox.ok(&["list"])?;
    }
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.ok(boot)?;
    ensure!(sandbox.exec(&name, &["/bin/echo", "whole"])? == "whole");
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}
