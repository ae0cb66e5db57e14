//! Name servers of a machine on the host's network, whose tree has a link where the host's file is to be.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::sandbox::{SHORT, Sandbox, utf8};

const LINK: &str = "etc/resolv.conf";

/// A tree of a distribution with systemd-resolved, which is not in it.
struct Linked {
    sandbox: Sandbox,
    tree: String,
    /// The host's file.
    servers: String,
}

impl Linked {
    fn new() -> Result<Linked> {
        let sandbox = Sandbox::new()?;
        let dir = sandbox.dir().join("tree");
        Tree::named("bookworm-busybox")?.copy_to(&dir)?;
        // There need not be one.
        let _ = fs::remove_file(dir.join(LINK));
        symlink("../run/systemd/resolve/stub-resolv.conf", dir.join(LINK))?;
        let servers = fs::read_to_string("/etc/resolv.conf").context("reading the host's")?;
        ensure!(!servers.is_empty(), "the host has no name servers");
        let tree = utf8(&dir)?;
        Ok(Linked {
            sandbox,
            tree,
            servers,
        })
    }

    /// What a machine of the tree has there, booted with these options; `None`: nothing that can be read.
    fn booted(&self, options: &[&str]) -> Result<Option<String>> {
        let name = self.sandbox.name();
        let boot = ["boot", &self.tree, "--network", "host", "-d", "-n", &name];
        self.sandbox.ok(&[&boot[..], options].concat())?;
        let done = self
            .sandbox
            .repot(&["exec", &name, "cat", "/etc/resolv.conf"])?;
        ensure!(
            done.code == 0 || done.err().contains("No such file"),
            "{done}"
        );
        self.sandbox.ok(&["kill", &name])?;
        self.sandbox.ok(&["rm", &name])?;
        Ok((done.code == 0).then(|| done.out()))
    }

    /// Nothing without the rule, in an engine that runs on the tree itself; with it the host's file, bound over what is an empty one.
    fn is_bound_over(&self, engine: &str) -> Result<()> {
        let on = ["--on", engine, "--in-place"];
        let seen = self.booted(&on)?;
        ensure!(seen.is_none(), "without the rule: {seen:?}");
        let fix = ["fix", &self.tree, "--for", engine, "--network", "host"];
        let fix = [&fix[..], &["--only", "resolver-link"]].concat();
        let done = self.sandbox.repot(&fix)?;
        // There are other findings.
        ensure!(done.code <= 1, "{done}");
        let seen = self.booted(&on)?;
        ensure!(seen.as_ref() == Some(&self.servers), "with it: {seen:?}");
        let file = fs::read_to_string(format!("{}/{LINK}", self.tree))?;
        ensure!(file.is_empty(), "the tree has the host's: {file:?}");
        self.sandbox.ok(&["fix", &self.tree, "--undo"])?;
        // What repot lays over a tree needs no rule.
        let seen = self.booted(&["--on", engine, "--no-fix"])?;
        ensure!(seen.as_ref() == Some(&self.servers), "laid over: {seen:?}");
        Ok(())
    }
}

#[test]
fn bound_over_by_nspawn() -> Result<()> {
    let linked = Linked::new()?;
    linked.is_bound_over("nspawn")?;
    linked.sandbox.finish()
}

#[test]
fn bound_over_by_lxc() -> Result<()> {
    let linked = Linked::new()?;
    linked.is_bound_over("lxc")?;
    linked.sandbox.finish()
}

/// What `repot command` prints for a chroot, as it is typed into a shell, with and without the line that mends the tree.
#[test]
fn bound_over_by_hand_in_chroot() -> Result<()> {
    let linked = Linked::new()?;
    let sandbox = &linked.sandbox;
    let printed = sandbox.ok(&[
        "command",
        &linked.tree,
        "--for",
        "chroot",
        "--network",
        "host",
    ])?;
    let is_fix = |line: &&str| line.starts_with("repot fix ");
    let fix = printed.lines().find(is_fix).context(printed.clone())?;
    let others: Vec<&str> = printed.lines().filter(|line| !is_fix(line)).collect();
    let seen = || {
        let script = others.join("\n");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]);
        process::run(&mut command, b"cat /etc/resolv.conf\n", SHORT)
    };
    let without = seen()?;
    ensure!(
        without.code != 0 && without.err().contains("the host's is not bound over it"),
        "{without}"
    );
    let words: Vec<&str> = fix.split(' ').skip(1).collect();
    // It says that no init boots there.
    ensure!(sandbox.repot(&words)?.code == 1, "{fix}");
    let with = seen()?;
    ensure!(with.code == 0 && with.out() == linked.servers, "{with}");
    linked.sandbox.finish()
}
