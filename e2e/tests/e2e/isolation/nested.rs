//! repot in a machine of repot's: machines in machines.

use anyhow::{Result, ensure};
use repot_e2e::trees::Tree;

use super::small;
use crate::sandbox::{LONG, SHORT, Sandbox, binary, utf8};

/// A machine with repot in it, trees to boot, and a place for writes that is no overlay.
fn outer(sandbox: &mut Sandbox, trees: &[(&str, &str)]) -> Result<String> {
    let tree = small(sandbox)?;
    let name = sandbox.name();
    let repot = format!("{}:/usr/bin/repot", utf8(binary()?)?);
    let mut args = vec![
        "boot".to_owned(),
        tree,
        "-d".into(),
        "-n".into(),
        name.clone(),
    ];
    args.extend([
        "--bind-ro".into(),
        repot,
        "--tmpfs".into(),
        "/var/lib/repot".into(),
    ]);
    for (tree, at) in trees {
        args.extend(["--bind-ro".to_owned(), format!("{tree}:{at}")]);
    }
    sandbox.ok(&args)?;
    Ok(name)
}

/// Boots a machine in a machine, logs in on a terminal, stops it.
fn boots_inside(tree: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let inner = sandbox.base(Tree::named(tree)?)?;
    let name = outer(&mut sandbox, &[(&inner, "/trees/inner")])?;
    sandbox.exec(
        &name,
        &["repot", "boot", "-d", "-n", "inner", "/trees/inner"],
    )?;
    let ids = sandbox.exec(
        &name,
        &["repot", "exec", "inner", "cat", "/proc/self/uid_map"],
    )?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    ensure!(ids == ["0", "0", "65536"], "{ids:?}");
    let mut console = sandbox.console(&["exec", &name, "repot", "login", "inner"])?;
    console.expect("# ", LONG)?;
    console.send_line("echo $(id -u)-$((6*7))")?;
    console.expect("0-42", SHORT)?;
    console.send_line("exit")?;
    console.wait_exit(LONG)?;
    sandbox.exec(&name, &["repot", "stop", "inner"])?;
    let left = sandbox.exec(&name, &["repot", "list", "--json"])?;
    ensure!(
        left.contains("stopped") && !left.contains("running\""),
        "{left}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn busybox_boots_in_a_machine() -> Result<()> {
    boots_inside("bookworm-busybox")
}

#[test]
fn runit_boots_in_a_machine() -> Result<()> {
    boots_inside("bookworm-runit")
}

#[test]
fn systemd_boots_in_a_machine() -> Result<()> {
    boots_inside("bookworm-systemd")
}

/// The third level, and what the machine around sees of it all: nothing has changed there.
#[test]
fn a_machine_in_a_machine_in_a_machine() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let name = outer(&mut sandbox, &[(&tree, "/trees/inner")])?;
    let mounts = ["grep", "-c", "", "/proc/self/mounts"];
    let before = sandbox.exec(&name, &mounts)?;
    let run = [
        "repot",
        "run",
        "--bind-ro",
        "/usr/bin/repot",
        "--bind-ro",
        "/trees/inner",
        "/trees/inner",
    ];
    let innermost = [
        "repot",
        "run",
        "/trees/inner",
        "sh",
        "-c",
        "echo innermost; (: >>/proc/sys/kernel/printk) 2>/dev/null || echo no",
    ];
    let said = sandbox.exec(&name, &[&run[..], &innermost].concat())?;
    ensure!(
        said.lines().collect::<Vec<_>>() == ["innermost", "no"],
        "{said}"
    );
    ensure!(sandbox.exec(&name, &mounts)? == before);
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// An overlay takes no writes of another one: said before, with what to do.
#[test]
fn writes_to_an_overlay_are_refused_with_a_hint() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let name = outer(&mut sandbox, &[(&tree, "/trees/inner")])?;
    let inside = [
        "exec",
        "-e",
        "REPOT_DATA_DIR=/srv/data",
        &name,
        "repot",
        "boot",
        "-d",
    ];
    let refused = sandbox.expect(&[&inside[..], &["/trees/inner"]].concat(), 3)?;
    ensure!(
        refused.err().contains("is on an overlay") && refused.err().contains("--ephemeral"),
        "{refused}"
    );
    sandbox.ok(&[&inside[..], &["-x", "-n", "inner", "/trees/inner"]].concat())?;
    sandbox.exec(&name, &["repot", "kill", "inner"])?;
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// Root of the inner machine is root of the outer one, to whom a copy of repot in there may belong: what runs is out of reach.
#[test]
fn the_outer_machines_own_copy_cannot_be_changed() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let inner = small(&mut sandbox)?;
    let name = outer(&mut sandbox, &[(&inner, "/trees/inner")])?;
    let script = "own=/var/lib/repot/own; cp /usr/bin/repot $own && chmod 755 $own
        $own boot -d -n inner /trees/inner >/dev/null || exit
        for p in /proc/[0-9]*; do
            [ \"$(cat $p/comm 2>/dev/null)\" = repot-machine ] && echo found && chmod 700 $p/exe 2>/dev/null; done
        stat -c %a $own; $own rm -f inner >/dev/null";
    let said = sandbox.exec(&name, &["sh", "-c", script])?;
    ensure!(said == "found\n755", "{said}");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}
