//! What a command needs of the host is used up: it says so, leaves nothing, and works again afterwards.

use std::process::Command;

use anyhow::{Result, ensure};
use repot_e2e::process::{self, Done};
use repot_e2e::trees::Tree;

use crate::sandbox::{LONG, Sandbox, binary};

/// Runs repot below a shell that takes something away first.
fn after(sandbox: &Sandbox, script: &str, args: &[&str]) -> Result<Done> {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "/bin/sh",
            "-c",
            &format!("{script}; exec \"$@\""),
            "sh",
        ])
        .arg(binary()?)
        .args(args)
        .env("REPOT_DATA_DIR", sandbox.data())
        .env("REPOT_RUN_DIR", sandbox.running());
    process::run(&mut command, b"", LONG)
}

/// Boot and run fail with that error, and succeed once the cause is gone.
fn fails_and_recovers(script: &str, error: &str) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let name = sandbox.name();
    std::fs::create_dir_all(sandbox.data())?;
    std::fs::create_dir_all(sandbox.running())?;
    let boot = ["boot", &tree, "-d", "-n", &name];
    let run = ["run", &tree, "-n", &name, "/bin/true"];
    for (args, code) in [(&boot, 3), (&run, 125)] {
        let done = after(&sandbox, script, args)?;
        ensure!(
            done.code == code && done.err().contains(error),
            "{script}: {args:?}: {done}"
        );
        sandbox.ok(&["rm", "--force", &name])?;
    }
    sandbox.ok(&run)?;
    sandbox.ok(&boot)?;
    sandbox.ok(&["rm", "--force", &name])?;
    sandbox.finish()
}

#[test]
fn no_room_for_what_runs() -> Result<()> {
    let script = "mount -t tmpfs -o size=4k,nr_inodes=3 tmpfs \"$REPOT_RUN_DIR\"";
    fails_and_recovers(script, "No space left on device")
}

#[test]
fn no_room_for_machines() -> Result<()> {
    let script = "mount -t tmpfs -o size=4k,nr_inodes=3 tmpfs \"$REPOT_DATA_DIR\"";
    fails_and_recovers(script, "No space left on device")
}

#[test]
fn no_more_descriptors() -> Result<()> {
    fails_and_recovers("ulimit -n 6", "Too many open files")
}

/// No more user namespaces may be made. As root of a namespace, since the limit of the host's is everybody's; there is no machine
/// without one there.
#[test]
fn no_more_user_namespaces() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let mut command = Command::new("unshare");
    let script = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"";
    command
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork"])
        .args(["--mount-proc", "/bin/sh", "-c", script, "sh"])
        .arg(binary()?)
        .args(["run", "-x", &tree, "/bin/true"])
        .env("REPOT_DATA_DIR", sandbox.data())
        .env("REPOT_RUN_DIR", sandbox.running());
    let done = process::run(&mut command, b"", LONG)?;
    ensure!(
        done.code == 125 && done.err().contains("user.max_user_namespaces is 0"),
        "{done}"
    );
    sandbox.finish()
}
