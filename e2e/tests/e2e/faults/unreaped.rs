//! An init that never reaps: its dead children stay, and hinder neither sessions nor the end.

use anyhow::{Result, ensure};
use repot_e2e::trees::Tree;

use crate::sandbox::Sandbox;

#[test]
fn an_init_that_never_reaps() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    let boot = [
        "boot",
        &tree,
        "-n",
        &name,
        "-d",
        "--timeout",
        "1",
        "--pids",
        "300",
    ];
    let init = ["--init", "/bin/sleep", "1000"];
    sandbox.expect(&[&boot[..], &init].concat(), 3)?;
    let orphans = "for n in $(seq 200); do (true &); done; sleep 0.2; \
        cat /proc/[0-9]*/stat | grep -c ') Z 1 '";
    let dead: u32 = sandbox.exec(&name, &["sh", "-c", orphans])?.parse()?;
    ensure!(dead >= 150, "only {dead} were left to it");
    ensure!(sandbox.exec(&name, &["echo", "here"])? == "here");
    // Once there is no room for a further one, a session says so.
    let more = "for n in $(seq 200); do (true &) 2>/dev/null; done; true";
    sandbox.repot(&["exec", &name, "sh", "-c", more])?;
    let done = sandbox.repot(&["exec", &name, "echo", "here"])?;
    ensure!(
        done.code == 0 || done.err().contains("Resource temporarily unavailable"),
        "{done}"
    );
    sandbox.ok(&["status", &name])?;
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}
