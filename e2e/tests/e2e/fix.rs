//! Edits of a tree: laid over it by `boot` and `run`, written into it by `fix`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use repot_e2e::digest::{differences, digest};
use repot_e2e::process::{self, Done};
use repot_e2e::trees::{PASSWORD, PASSWORD_HASH, Tree};
use repot_e2e::user::User;
use rustix::event::Timespec;
use rustix::fs::{XattrFlags, setxattr};
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{LONG, SHORT, Sandbox, utf8};
use crate::session;

/// What a machine sees of a file that is laid over its tree, and of the directory that it is in.
#[test]
fn a_layer_keeps_mode_owner_and_attributes() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let dir = sandbox.copy(Tree::named("bookworm-busybox")?, "tree")?;
    let tree = utf8(&dir)?;
    let hostname = dir.join("etc/hostname");
    chown(&hostname, Some(3), Some(4))?;
    setxattr(&hostname, "user.note", b"kept", XattrFlags::empty())?;
    fs::set_permissions(&hostname, fs::Permissions::from_mode(0o640))?;
    chown(dir.join("etc"), Some(0), Some(7))?;
    fs::set_permissions(dir.join("etc"), fs::Permissions::from_mode(0o2751))?;
    let before = digest(&dir)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "--name", &name, "--hostname", "fern"])?;
    let seen = sandbox.exec(
        &name,
        &["stat", "-c", "%n %a %u:%g", "/etc", "/etc/hostname"],
    )?;
    ensure!(
        seen == "/etc 2751 0:7\n/etc/hostname 640 3:4",
        "the machine sees {seen:?}"
    );
    ensure!(sandbox.exec(&name, &["cat", "/etc/hostname"])? == "fern");
    let row = sandbox.row(&name)?.context("listing the machine")?;
    let pid = &row["pid"];
    let laid = format!("/proc/{pid}/root/etc/hostname");
    let mut note = [0; 16];
    let length = rustix::fs::getxattr(Path::new(&laid), "user.note", &mut note[..])?;
    ensure!(&note[..length] == b"kept", "{note:?}");
    sandbox.ok(&["kill", &name])?;
    sandbox.ok(&["rm", "-f", &name])?;
    ensure!(digest(&dir)? == before, "the tree has changed");
    sandbox.finish()
}

fn stdin(sandbox: &Sandbox, args: &[&str], input: &str) -> Result<Done> {
    sandbox.repot_with(args, input.as_bytes())
}

/// What `fix` writes is what its dry run shows, it is written once, root gets in with it, and all of it can be undone.
#[test]
fn a_tree_is_mended_once_and_put_back() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let dir = sandbox.copy(Tree::named("bookworm-sysvinit")?, "tree")?;
    let tree = utf8(&dir)?;
    let before = digest(&dir)?;
    let password = format!("{PASSWORD}\n");
    let wish = ["fix", &tree, "--root-password", "-"];

    let dry = stdin(&sandbox, &[&wish[..], &["--dry-run"]].concat(), &password)?;
    ensure!(dry.code == 1, "{dry}");
    let diff = dry.out();
    ensure!(
        diff.contains("--- a/etc/shadow") && diff.contains("+root:<hidden hash 1>:"),
        "{diff}"
    );
    ensure!(!diff.contains('$') && !diff.contains(PASSWORD), "{diff}");
    ensure!(digest(&dir)? == before, "the dry run has changed the tree");

    let done = stdin(&sandbox, &wish, &password)?;
    ensure!(done.code == 0, "{done}");
    ensure!(done.out().contains("mended root-password"), "{done}");
    let after = digest(&dir)?;
    ensure!(after != before, "nothing was written");
    // Another salt would be another hash, so the second time there is no wish.
    let again = sandbox.expect(&["fix", &tree], 0)?;
    ensure!(again.out().contains("nothing to be mended"), "{again}");
    ensure!(digest(&dir)? == after, "fixing twice changes something");

    let name = sandbox.name();
    let mut console =
        sandbox.console(&["boot", &tree, "--ephemeral", "--no-fix", "--name", &name])?;
    session::login(&mut console)?;
    let busy = sandbox.expect(&["fix", &tree, "--undo"], 3)?;
    ensure!(busy.err().contains("runs on"), "{busy}");
    console.send_line("poweroff")?;
    console.wait_exit(LONG)?;

    sandbox.expect(&["fix", &tree, "--undo"], 0)?;
    ensure!(
        digest(&dir)? == before,
        "undone, but {:?}",
        differences(&Tree::named("bookworm-sysvinit")?.ensure()?, &dir)?
    );
    let nothing = sandbox.expect(&["fix", &tree, "--undo"], 0)?;
    ensure!(nothing.err().contains("nothing is recorded"), "{nothing}");
    sandbox.finish()
}

/// A file that was changed since is not put back, unless one insists.
#[test]
fn what_was_changed_since_is_not_put_back() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let dir = sandbox.copy(Tree::named("bookworm-busybox")?, "tree")?;
    let tree = utf8(&dir)?;
    let before = digest(&dir)?;
    let shadow = dir.join("etc/shadow");
    let hash = ["fix", &tree, "--root-password-hash", PASSWORD_HASH];
    sandbox.expect(&hash, 0)?;
    let mended = fs::read_to_string(&shadow)?;
    ensure!(mended.contains(PASSWORD_HASH), "{mended:?}");
    // The wish is fulfilled.
    ensure!(sandbox.expect(&hash, 0)?.out().contains("nothing to be"));
    fs::write(&shadow, format!("{mended}new:*:::::::\n"))?;
    let refused = sandbox.expect(&["fix", &tree, "--undo"], 3)?;
    ensure!(
        refused.err().contains("/etc/shadow") && refused.err().contains("--force"),
        "{refused}"
    );
    sandbox.expect(&["fix", &tree, "--undo", "--force"], 0)?;
    ensure!(digest(&dir)? == before, "forced, but not as it was");
    sandbox.finish()
}

/// Killed at any moment, what was written is undone all the same.
#[test]
fn killed_fixes_are_undone() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let dir = sandbox.copy(Tree::named("bookworm-sysvinit")?, "tree")?;
    let tree = utf8(&dir)?;
    let before = digest(&dir)?;
    let args = [
        "fix",
        &tree,
        "--for",
        "nspawn",
        "--root-password-hash",
        PASSWORD_HASH,
    ];
    let mut cut_short = 0;
    for round in 0..40u64 {
        let mut child = sandbox
            .command(&args)?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = Pid::from_child(&child);
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(round * 1_500_000)?,
        };
        rustix::event::poll(&mut [], Some(&pause))?;
        let _ = kill_process(pid, Signal::KILL);
        cut_short += u32::from(child.wait()?.code().is_none());
        sandbox.expect(&["fix", &tree, "--undo"], 0)?;
        ensure!(
            digest(&dir)? == before,
            "killed after {round} steps of 1.5 ms: {:?}",
            differences(&Tree::named("bookworm-sysvinit")?.ensure()?, &dir)?
        );
    }
    ensure!(cut_short > 3, "only {cut_short} were cut short");
    sandbox.finish()
}

/// `boot` gives root a password for this boot, asked for on the terminal, and tells nobody.
#[test]
fn boot_lays_a_password_over_the_tree() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &tree, "--root-password", "-", "--name", &name])?;
    for question in ["New password for root: ", "Once more: "] {
        console.expect(question, SHORT)?;
        console.send_line(PASSWORD)?;
    }
    session::login(&mut console)?;
    let shown = console.text();
    ensure!(
        !shown.contains(&format!(": {PASSWORD}")),
        "the password was shown: {shown}"
    );
    let hash = sandbox.exec(
        &name,
        &["sed", "-n", "s/^root:\\([^:]*\\):.*/\\1/p", "/etc/shadow"],
    )?;
    ensure!(hash.starts_with("$6$"), "{hash}");
    let mode = sandbox.exec(&name, &["stat", "-c", "%a %U:%G", "/etc/shadow"])?;
    ensure!(mode == "640 root:shadow", "{mode}");
    let record = fs::read_to_string(
        sandbox
            .data()
            .join("machines")
            .join(&name)
            .join("machine.json"),
    )?;
    let state = fs::read_to_string(sandbox.running().join(&name).join("state.json"))?;
    ensure!(
        !(record + &state).contains(&hash),
        "the hash is in the state"
    );
    sandbox.ok(&["kill", &name])?;
    console.wait_exit(LONG)?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// The distribution's own package manager brings what no file can: an init, and login.
#[test]
fn what_is_missing_is_installed() -> Result<()> {
    let sandbox = Sandbox::new()?;
    for (recipe, packages) in [
        ("bookworm-noinit", "systemd-sysv"),
        ("bookworm-nologin", "login util-linux"),
    ] {
        install(&sandbox, recipe, packages)?;
    }
    sandbox.finish()
}

fn install(sandbox: &Sandbox, recipe: &str, packages: &str) -> Result<()> {
    let dir = sandbox.copy(Tree::named(recipe)?, recipe)?;
    let tree = utf8(&dir)?;
    let before = digest(&dir)?;
    let dry = sandbox.expect(&["fix", &tree, "--install", "--dry-run"], 1)?;
    ensure!(
        dry.err().contains(&format!(
            "apt-get install --yes --no-install-recommends --reinstall {packages}\n"
        )),
        "{dry}"
    );
    ensure!(digest(&dir)? == before, "the dry run has changed the tree");
    let hash = ["--root-password-hash", PASSWORD_HASH];
    let done = sandbox.expect(&[&["fix", &tree, "--install"], &hash[..]].concat(), 0)?;
    ensure!(done.err().contains("does not take packages back"), "{done}");
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &tree, "-x", "--no-fix", "--name", &name])?;
    session::login(&mut console)?;
    console.send_line("poweroff")?;
    console.wait_exit(LONG)?;
    let again = sandbox.expect(&["fix", &tree, "--install"], 0)?;
    ensure!(
        again.err().contains("nothing has to be installed"),
        "{again}"
    );
    Ok(())
}

/// A user's own tree, without root: in a user namespace, as for everything that touches files of a tree.
#[test]
fn a_users_tree_is_mended_without_root() -> Result<()> {
    let user = User::with_subordinate_ids()?;
    let sandbox = Sandbox::of_user(&user)?;
    let dir = sandbox.copy(Tree::named("bookworm-busybox")?, "tree")?;
    let tree = utf8(&dir)?;
    let mut chown = std::process::Command::new("chown");
    chown.args(["-hR", &format!("{}:{}", user.uid, user.gid), &tree]);
    let done = process::run(&mut chown, b"", LONG)?;
    ensure!(done.code == 0, "{done}");
    let before = digest(&dir)?;
    let hash = ["fix", &tree, "--root-password-hash", PASSWORD_HASH];
    sandbox.expect(&hash, 0)?;
    let shadow = dir.join("etc/shadow");
    ensure!(fs::read_to_string(&shadow)?.contains(PASSWORD_HASH));
    ensure!(
        fs::metadata(&shadow)?.uid() == user.uid,
        "it has changed hands"
    );
    sandbox.expect(&["fix", &tree, "--undo"], 0)?;
    ensure!(digest(&dir)? == before, "undone, but not as it was");
    sandbox.finish()
}
