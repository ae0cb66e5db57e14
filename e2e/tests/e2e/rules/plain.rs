//! Trees that `systemd-nspawn` or chroot does not start, as anybody would type it, and what the rules for them, or for an engine that
//! cannot run here, make of it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;

use super::hand::{Copied, powered_off};
use crate::sandbox::{LONG, SHORT, utf8};

/// Lets root in on nspawn's console, where a tree is about something else.
const LOGINS: &[&str] = &[
    "console-silent",
    "securetty",
    "missing-terminals",
    "shared-terminal",
];

/// nspawn looks for os-release with `--boot`, and for /usr without; Windows starts `/sbin/init` and nothing else.
#[test]
fn what_is_looked_for_first() -> Result<()> {
    let mut machine = Copied::new("bookworm-busybox", "rm -r usr; mv sbin/init bin/init")?;
    machine.fix(LOGINS)?;
    machine.is_refused(&["--boot"], "(os-release file is missing). Refusing.")?;
    machine.fix(&["os-release"])?;
    machine.is_refused(&["/bin/init"], "(/usr/ directory is missing). Refusing.")?;
    machine.fix(&["usr"])?;
    machine.is_refused(&["/sbin/init"], "execv(/sbin/init) failed")?;
    machine.fix_with(&["--for", "wsl", "--only", "init-place"])?;
    machine.start(&[], &["--boot", "--kill-signal=SIGUSR2"])?;
    machine.is_let_in()?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

/// An init that is not process 1 takes itself for telinit, or says so; `repot boot` refuses to try.
#[test]
fn an_init_in_chroot() -> Result<()> {
    let machine = Copied::new("bookworm-busybox", "")?;
    let mut command = Command::new("chroot");
    command.arg(&machine.dir).arg("/sbin/init");
    let said = process::run(&mut command, b"", SHORT)?;
    ensure!(said.err().contains("must be run as PID 1"), "{said}");
    let tree = utf8(&machine.dir)?;
    let doctor = machine
        .sandbox
        .repot(&["doctor", &tree, "--for", "chroot"])?;
    ensure!(
        doctor.out().contains("init-process") && doctor.out().contains("must be run as PID 1"),
        "{doctor}"
    );
    let args = ["boot", &tree, "--on", "chroot", "-d"];
    machine.sandbox.expect(&args, 3)?;
    machine.finish()
}

/// Without the rule, two prompts stand there before anybody has typed; with it one.
#[test]
fn two_gettys_on_one_terminal() -> Result<()> {
    const DOUBLED: &str =
        "echo 'c1:2345:respawn:/sbin/getty -L console 115200 vt100' >> etc/inittab
echo 'c2:2345:respawn:/sbin/getty --noclear 38400 console' >> etc/inittab";
    let mut machine = Copied::new("bookworm-sysvinit", DOUBLED)?;
    machine.fix(&["missing-terminals"])?;
    let console = machine.boot("SIGKILL")?;
    console.expect("login:", SHORT)?;
    console
        .expect("login:", SHORT)
        .context("a second prompt without a key pressed")?;
    machine.stop()?;
    machine.fix(&["shared-terminal"])?;
    machine.logs_in("SIGKILL")?;
    let text = machine.console()?.text().to_owned();
    ensure!(text.matches(" login: ").count() == 1, "{text}");
    machine.stop()?;
    machine.finish()
}

/// It has stopped everything, may not say so to the kernel, and stays. (What repot does: `engines::nspawn::an_init_that_cannot_end`.)
#[test]
fn sysvinit_without_reboot_stays() -> Result<()> {
    let mut machine = Copied::new("bookworm-sysvinit", "")?;
    machine.fix(LOGINS)?;
    let options = ["--drop-capability=CAP_SYS_BOOT", "/sbin/init"];
    machine.start(&[], &options)?;
    machine.is_let_in()?;
    let console = machine.console()?;
    console.send_line("poweroff")?;
    console.expect("Will now halt", LONG)?;
    console.expect("INIT: no more processes left in this runlevel", LONG)?;
    machine.finish()
}

/// In a session whose login ID is set, without the capability to change it: pam_loginuid, which Debian requires, ends the login.
#[test]
fn a_login_id_that_is_set() -> Result<()> {
    let mut machine = Copied::new("bookworm-sysvinit", "")?;
    let bound = ["setpriv", "--bounding-set=-audit_control"];
    let script = "echo 1000 >/proc/self/loginuid && exec \"$@\"";
    let session = [&["sh", "-c", script, "sh"], &bound[..]].concat();
    machine.sandbox.put_around(&session);
    machine.fix_with(&["--for", "nspawn", "--except", "pam-loginuid"])?;
    let console = machine.start(&session, &["--kill-signal=SIGPWR", "/sbin/init"])?;
    super::patient::refused(
        console,
        "Cannot make/remove an entry for the specified session",
    )?;
    machine.stop()?;
    machine.fix(&["pam-loginuid"])?;
    machine.start(&session, &["--kill-signal=SIGPWR", "/sbin/init"])?;
    machine.is_let_in()?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

/// As Windows tells it, in a word that OpenRC does not know.
#[test]
fn openrc_that_is_not_told() -> Result<()> {
    const ASK: &str = "echo it is \"<$(openrc --sys)>\"";
    let mut machine = Copied::new("bookworm-openrc", "")?;
    machine.fix(&[])?;
    for (says, rules) in [
        ("it is <>", &["container-variable"][..]),
        ("it is <SYSTEMD-NSPAWN>", &[]),
    ] {
        machine.start(&[], &["--setenv=container=wsl", "/sbin/init"])?;
        machine.is_let_in()?;
        let seen = machine.console()?.run(ASK, SHORT)?;
        ensure!(seen.contains(says), "{seen:?}");
        machine.stop()?;
        for rule in rules {
            machine.fix_with(&["--for", "wsl", "--only", rule])?;
        }
    }
    machine.finish()
}

/// The v1 layout that nspawn takes for this tree's if it is told to, and repot's own, with which `boot::sid_systemd_attended` logs in.
#[test]
fn a_systemd_that_refuses_v1() -> Result<()> {
    let mut machine = Copied::new("sid-systemd", "")?;
    let console = machine.start(
        &["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0"],
        &["/sbin/init"],
    )?;
    console.expect("Detected unsupported legacy cgroup hierarchy", SHORT)?;
    console.wait_exit(SHORT)?;
    machine.finish()
}

/// Something of the host's that is mounted in the tree: nspawn takes it along, and its machine can change it; repot's own does not.
#[test]
fn what_is_mounted_in_the_tree() -> Result<()> {
    let mut machine = Copied::new("bookworm-busybox", "mkdir boot")?;
    let of_host = machine.sandbox.dir().join("of-host");
    fs::create_dir(&of_host)?;
    fs::write(of_host.join("kernel"), "of the host")?;
    let tree = utf8(&machine.dir)?;
    let mount = format!("mount --bind {} {tree}/boot", utf8(&of_host)?);
    machine.fix_with(&["--for", "nspawn"])?;
    machine.sandbox.on_a_host(&mount);
    let script = format!("{mount} && exec \"$@\"");
    let host = ["unshare", "--mount", "--propagation", "private"];
    let host = [&host[..], &["sh", "-c", &script, "sh"]].concat();
    machine.start(&host, &["--kill-signal=SIGUSR2", "/sbin/init"])?;
    machine.is_let_in()?;
    machine
        .console()?
        .run("echo of the machine >/boot/kernel", SHORT)?;
    powered_off(machine.stop()?)?;
    let kernel = fs::read_to_string(of_host.join("kernel"))?;
    ensure!(kernel == "of the machine\n", "the host has {kernel:?}");

    let doctor = machine
        .sandbox
        .repot(&["doctor", &tree, "--for", "nspawn"])?;
    ensure!(doctor.out().contains("umount -R"), "{doctor}");
    let seen = machine
        .sandbox
        .ok(&["run", &tree, "--", "sh", "-c", "echo in $(ls /boot)."])?;
    ensure!(seen.trim() == "in .", "{seen:?}");
    machine.finish()
}
