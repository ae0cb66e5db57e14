//! Trees of another architecture: arm64 on amd64, by QEMU's emulator of single programs.
//!
//! Nothing is registered with this host's kernel: repot runs in a user namespace with a binfmt_misc of its own (Linux 6.7).
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::boot::{BOOKWORM_BUSYBOX, BOOKWORM_SYSTEMD};
use crate::life::{Case, attended_in, locked_in};
use crate::sandbox::{SHORT, Sandbox, utf8};

const MOUNT: &str = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";

/// A host on which the emulator is registered with these flags.
fn registered(flags: &str) -> Result<String> {
    let qemu = Tree::named("bookworm-qemu")?.ensure()?;
    let qemu = utf8(&qemu.join("usr/bin/qemu-aarch64-static"))?;
    // From the package's usr/lib/binfmt.d/qemu-aarch64.conf.
    let magic = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    Ok(format!(
        "{MOUNT} && printf %s ':qemu-aarch64:M::{magic}:{mask}:{qemu}:{flags}' >/proc/sys/fs/binfmt_misc/register"
    ))
}

/// With a password and without, all that is done with a tree of this architecture.
fn lives(case: &Case) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.on_a_host_without_privileges(&registered("OPF")?)?;
    let unlocked = sandbox.base(Tree::named(case.tree)?.with_password())?;
    attended_in(&sandbox, case, &unlocked)?;
    let tree = sandbox.base(Tree::named(case.tree)?)?;
    locked_in(&sandbox, case, &tree)?;

    let run = sandbox.ok(&["run", &tree, "uname", "-m"])?;
    ensure!(run == "aarch64\n", "{run:?}");
    let name = sandbox.name();
    sandbox.ok(&["boot", "-d", "-n", &name, &tree])?;
    ensure!(sandbox.exec(&name, &["uname", "-m"])? == "aarch64");
    // Root of the machine is root of its host's namespace here. What was registered with F nobody can write to.
    let written = sandbox.repot(&["exec", &name, "sh", "-c", ": >/proc/1/exe"])?;
    ensure!(
        written.code != 0 && written.err().contains("busy"),
        "{written}"
    );
    let decisions = sandbox.status(&name)?["running"]["spec"]["decisions"].to_string();
    for said in [
        "qemu-aarch64-static (binfmt_misc: qemu-aarch64, flags POF)",
        "set-uid",
    ] {
        ensure!(decisions.contains(said), "{decisions}");
    }
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

#[test]
fn busybox() -> Result<()> {
    lives(&Case {
        tree: "arm64-busybox",
        ..BOOKWORM_BUSYBOX
    })
}

/// Its stop is no real-time signal: SIGRTMIN+4 would arrive as SIGRTMIN+2, the emergency mode.
#[test]
fn systemd() -> Result<()> {
    lives(&Case {
        tree: "arm64-systemd",
        ..BOOKWORM_SYSTEMD
    })
}

/// What the rule `emulated-services` mends: units fail that only want a credential.
#[test]
fn systemd_as_it_is() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.on_a_host_without_privileges(&registered("OPF")?)?;
    let tree = sandbox.base(Tree::named("arm64-systemd")?.with_password())?;
    let name = sandbox.name();
    let failed = |no_fix: &[&str]| -> Result<String> {
        sandbox.ok(&[&["boot", "-d", "-x", "-n", &name, &tree], no_fix].concat())?;
        let failed = sandbox.exec(&name, &["systemctl", "--failed", "--plain", "--no-legend"])?;
        sandbox.ok(&["stop", &name])?;
        Ok(failed)
    };
    let before = failed(&["--no-fix"])?;
    for unit in [
        "systemd-sysusers",
        "systemd-tmpfiles-setup",
        "systemd-sysctl",
    ] {
        ensure!(before.contains(unit), "{before}");
    }
    let after = failed(&[])?;
    ensure!(after.is_empty(), "{after}");
    sandbox.finish()
}

/// The kernel asks nobody who started the container. Of the other engines, these run in a user namespace.
#[test]
fn elsewhere() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    sandbox.on_a_host_without_privileges(&registered("OPF")?)?;
    for tree in ["arm64-busybox", "arm64-systemd"] {
        let tree = sandbox.base(Tree::named(tree)?.with_password())?;
        let run = sandbox.ok(&["run", "--on", "chroot", &tree, "uname", "-m"])?;
        ensure!(run == "aarch64\n", "{run:?}");
        let name = sandbox.name();
        sandbox.ok(&["boot", "--on", "lxc", "-d", "-n", &name, &tree])?;
        ensure!(sandbox.exec(&name, &["uname", "-m"])? == "aarch64");
        sandbox.ok(&["stop", &name])?;
        sandbox.ok(&["rm", &name])?;
    }
    sandbox.finish()
}

/// Without an emulator nothing is started, and what would help is said; also by `doctor`, and of the host.
#[test]
fn none_is_registered() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("arm64-busybox")?)?;
    sandbox.on_a_host_without_privileges(MOUNT)?;
    let said = [
        "this is a tree for aarch64, this machine is x86_64",
        "no emulator is registered for it",
        "qemu-user-static",
    ];
    let refusals: [(&[&str], i32); 5] = [
        (&["boot", &tree], 3),
        (&["boot", "--on", "lxc", &tree], 3),
        (&["try", &tree], 3),
        (&["run", &tree], 125),
        (&["run", "--on", "chroot", &tree], 125),
    ];
    for (words, code) in refusals {
        let done = sandbox.expect(words, code)?;
        ensure!(said.iter().all(|it| done.err().contains(it)), "{done}");
    }
    for engine in ["native", "docker"] {
        let found = sandbox.expect(&["doctor", &tree, "--for", engine], 1)?;
        ensure!(
            found.out().contains("architecture") && found.out().contains(said[1]),
            "{found}"
        );
    }
    let host = sandbox.repot(&["doctor", "--host"])?;
    ensure!(
        host.out().contains("none: trees of other architectures"),
        "{host}"
    );
    sandbox.finish()
}

/// Without the flag F the kernel looks for the emulator in the machine. What repot says to do then is done, and it boots.
#[test]
fn the_flag_is_missing() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("arm64-busybox")?.with_password())?;
    sandbox.on_a_host_without_privileges(&registered("OC")?)?;
    let refused = sandbox.expect(&["boot", "-d", &tree], 3)?;
    let err = refused.err();
    ensure!(err.contains("without the flag F"), "{refused}");
    // It may be in the tree.
    let copy = sandbox.copy(Tree::named("arm64-busybox")?, "with-emulator")?;
    let qemu = Tree::named("bookworm-qemu")?.ensure()?;
    let qemu = qemu.join("usr/bin/qemu-aarch64-static");
    let place = copy.join(qemu.strip_prefix("/")?);
    fs::create_dir_all(place.parent().context("naming a directory")?)?;
    fs::copy(&qemu, &place)?;
    let run = sandbox.ok(&["run", &utf8(&copy)?, "uname", "-m"])?;
    ensure!(run == "aarch64\n", "{run:?}");
    let (_, hint) = err
        .split_once("register it with F: ")
        .context("reading the hint")?;
    let mut shell = sandbox.command_by(Path::new("/bin/sh"), &["-c", hint.trim()])?;
    let done = process::run(&mut shell, b"", SHORT)?;
    ensure!(done.code == 0, "{hint}: {done}");
    ensure!(
        sandbox
            .expect(&["doctor", &tree], 0)?
            .out()
            .contains("nothing found")
    );
    let name = sandbox.name();
    sandbox.ok(&["boot", "-d", "-n", &name, &tree])?;
    ensure!(sandbox.exec(&name, &["uname", "-m"])? == "aarch64");
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
