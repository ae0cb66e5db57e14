//! The other verbs, and what they say when they cannot.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::{self, Tree};
use serde_json::Value;

use crate::sandbox::{SHORT, Sandbox, utf8};

fn sandbox() -> Result<(Sandbox, String)> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    Ok((sandbox, tree))
}

fn booted(sandbox: &Sandbox, tree: &str) -> Result<String> {
    let name = sandbox.name();
    sandbox.ok(&["boot", tree, "-d", "-n", &name])?;
    Ok(name)
}

#[test]
fn list_and_status() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = booted(&sandbox, &tree)?;
    let table = sandbox.ok(&["list"])?;
    let line = table
        .lines()
        .find(|line| line.starts_with(&name))
        .context("finding the machine")?;
    ensure!(
        line.contains("running") && line.contains("/sbin/init") && line.contains(&tree),
        "{table}"
    );
    let row = sandbox.row(&name)?.context("finding the machine")?;
    ensure!(
        row["engine"] == "native" && row["source"] == tree.as_str() && row["ephemeral"] == false,
        "{row}"
    );
    ensure!(
        row["ready"]
            .as_str()
            .is_some_and(|how| how.contains("login:")),
        "{row}"
    );
    let status = sandbox.ok(&["status", &name])?;
    ensure!(
        status.contains(&name) && status.contains("running"),
        "{status}"
    );
    ensure!(sandbox.status(&name)?["usage"].is_object());
    sandbox.ok(&["stop", &name])?;
    ensure!(!sandbox.ok(&["list", "--running"])?.contains(&name));
    ensure!(sandbox.ok(&["status", &name])?.contains("powered off"));
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// However much a machine writes on its console, the log stays small, and what comes last is in it.
#[test]
fn logs_are_bounded() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = booted(&sandbox, &tree)?;
    sandbox.exec(&name, &["sh", "-c", "yes 'a line of no use to anybody' | head -c 50000000 >/dev/console; echo the last line >/dev/console"])?;
    process::until("the last line is in the log", SHORT, || {
        Ok(sandbox
            .ok(&["logs", "-n", "3", &name])?
            .contains("the last line"))
    })?;
    let dir = sandbox.data().join("machines").join(&name);
    let size: u64 = ["console.log", "console.log.1"]
        .iter()
        .filter_map(|file| fs::metadata(dir.join(file)).ok())
        .map(|meta| meta.len())
        .sum();
    ensure!(
        (1_000_000..2_200_000).contains(&size),
        "the log has {size} bytes"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// `logs -f` shows what comes, and ends with the machine.
#[test]
fn logs_follow() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = booted(&sandbox, &tree)?;
    let mut follow = sandbox.console(&["logs", "-f", &name])?;
    follow.expect("login:", SHORT)?;
    sandbox.exec(&name, &["sh", "-c", "echo some news >/dev/console"])?;
    follow.expect("some news", SHORT)?;
    sandbox.ok(&["stop", &name])?;
    let status = follow.wait_exit(SHORT)?;
    ensure!(status.code() == Some(0), "logs -f ended with {status}");
    let log = sandbox.ok(&["logs", &name])?;
    ensure!(
        log.contains("some news"),
        "the log of a stopped machine: {log}"
    );
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn what_runs_is_protected() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = booted(&sandbox, &tree)?;
    let done = sandbox.expect(&["rm", &name], 3)?;
    ensure!(
        done.err().contains("running") && done.err().contains(&format!("repot stop {name}")),
        "{done}"
    );
    for source in [tree.as_str(), name.as_str()] {
        let done = sandbox.expect(&["boot", source, "-n", &name], 3)?;
        ensure!(
            done.err().contains("running") && done.err().contains(&format!("repot attach {name}")),
            "{done}"
        );
    }
    ensure!(sandbox.state(&name)? == "running");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn unknown_names_and_wrong_usage() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let own = |code| if code == 0 { 3 } else { code };
    for (verb, code) in [
        ("stop", 3),
        ("kill", 3),
        ("reboot", 3),
        ("attach", 3),
        ("status", 3),
        ("logs", 3),
        ("rm", 3),
        ("login", 125),
        ("shell", 125),
    ] {
        let done = sandbox.expect(&[verb, "nobody"], own(code))?;
        ensure!(
            done.err().contains("nobody") && done.err().contains("repot list"),
            "{verb}: {done}"
        );
    }
    sandbox.expect(&["exec", "nobody", "true"], 125)?;
    let wrong: [&[&str]; 8] = [
        &["no-such-verb"],
        &["boot"],
        &["exec", "x"],
        &["stop"],
        &["boot", &tree, "--on", "moon"],
        &["boot", &tree, "-n", "a/b"],
        &["boot", &tree, "-x", "--in-place"],
        &["kill", "-s", "SIGNOTHING", "x"],
    ];
    for words in wrong {
        let done = sandbox.expect(words, 2)?;
        ensure!(!done.err().is_empty(), "{words:?}: {done}");
    }
    for words in [&["--help"], &["--version"]] {
        ensure!(sandbox.expect(words, 0)?.out().contains("repot"));
    }
    sandbox.finish()
}

/// A tree of another processor is refused with what would help.
#[test]
fn foreign_architecture() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let copy = sandbox.dir().join("tree");
    Tree::named("bookworm-busybox")?.copy_to(&copy)?;
    let busybox = copy.join("bin/busybox");
    let mut program = fs::read(&busybox)?;
    // e_machine (elf(5)): 183 is aarch64, 62 x86-64.
    let machine = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    *program.get_mut(18).context("reading the ELF header")? = machine;
    fs::write(&busybox, program)?;
    let tree = utf8(&copy)?;
    for (words, code) in [(["boot", &tree], 3), (["run", &tree], 125)] {
        let done = sandbox.expect(&words, code)?;
        ensure!(done.err().contains("qemu-user-static"), "{done}");
    }
    sandbox.finish()
}

/// Says everything, makes nothing.
#[test]
fn dry_run() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = sandbox.name();
    let text = sandbox.ok(&["boot", &tree, "-n", &name, "--dry-run"])?;
    for word in [
        &name,
        "steps",
        "mount",
        "/dev/console",
        "/sbin/init",
        "busybox",
    ] {
        ensure!(text.contains(word), "{word:?} is not said: {text}");
    }
    let document: Value =
        serde_json::from_str(&sandbox.ok(&["boot", &tree, "-n", &name, "--dry-run", "--json"])?)?;
    ensure!(
        document["spec"]["name"] == name.as_str()
            && document["steps"]
                .as_array()
                .is_some_and(|steps| steps.len() > 5)
    );
    ensure!(
        !sandbox.data().join("machines").exists(),
        "a dry run has made a machine"
    );
    ensure!(sandbox.row(&name)?.is_none());
    sandbox.finish()
}

/// What `inspect` finds in each tree: init, the beginning of its version, a terminal with a getty.
const FOUND: [(&str, &str, &str, &str); 15] = [
    ("bookworm-systemd", "systemd", "252", "console"),
    ("bullseye-systemd", "systemd", "247", "console"),
    ("trixie-systemd", "systemd", "257", "console"),
    ("sid-systemd", "systemd", "26", "console"),
    ("bookworm-sysvinit", "sysvinit", "3.06", "tty1"),
    ("bookworm-serial", "sysvinit", "3.06", "ttyS0"),
    ("bookworm-bothgetty", "sysvinit", "3.06", "console"),
    ("bookworm-openrc", "sysvinit", "3.06", "tty1"),
    ("sid-openrc-init", "openrc", "0.", ""),
    ("bookworm-runit", "runit", "2.1.2", "tty1"),
    ("bookworm-finit", "finit", "4.", "tty1"),
    ("bookworm-s6", "s6", "2.11", "tty1"),
    ("bookworm-busybox", "busybox", "1.35", "tty1"),
    ("busybox-noinittab", "busybox", "1.35", ""),
    ("trixie-guix", "shepherd", "1.0", "tty1"),
];

#[test]
fn inspect() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    for (tree, init, version, terminal) in FOUND {
        let path = sandbox.base(Tree::named(tree)?)?;
        let facts: Value = serde_json::from_str(&sandbox.ok(&["inspect", "--json", &path])?)?;
        let found = &facts["init"];
        let id = found["id"].as_str().unwrap_or_default();
        ensure!(id.contains(init), "{tree}: init {found}");
        let seen = found["version"].as_str().unwrap_or_default();
        ensure!(
            seen.starts_with(version),
            "{tree}: version {seen:?}, expected {version}"
        );
        let has = found["gettys"]
            .to_string()
            .contains(&format!("{terminal}\""));
        ensure!(
            has || terminal.is_empty(),
            "{tree}: gettys {}",
            found["gettys"]
        );
    }
    let path = sandbox.base(Tree::named("bookworm-noinit")?)?;
    let text = sandbox.ok(&["inspect", &path])?;
    ensure!(text.contains("Debian"), "{text}");
    ensure!(trees::recipes().count() >= FOUND.len());
    sandbox.finish()
}

/// What the shell offers after a verb, from the completion engine that the generated script calls.
#[test]
fn completion_of_names() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let (running, stopped) = (booted(&sandbox, &tree)?, booted(&sandbox, &tree)?);
    sandbox.ok(&["kill", &stopped])?;
    let offers = |verb: &str| -> Result<String> {
        let mut command: Command = sandbox.command(&["--", "repot", verb, ""])?;
        command
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", "2")
            .env("_CLAP_IFS", "\n");
        command
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false");
        Ok(process::run(command.stdin(Stdio::null()), b"", SHORT)?.out())
    };
    let of_rm = offers("rm")?;
    ensure!(
        of_rm.contains(&running) && of_rm.contains(&stopped),
        "{of_rm}"
    );
    let of_attach = offers("attach")?;
    ensure!(
        of_attach.contains(&running) && !of_attach.contains(&stopped),
        "{of_attach}"
    );
    sandbox.ok(&["rm", "-f", &running, &stopped])?;
    sandbox.finish()
}
