//! What keeps a boot from getting to its logins: trees that stop, wait or ask, and go through with the rule.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::trees::Tree;

use super::hand::{Copied, powered_off};
use crate::sandbox::{SHORT, Sandbox};
use crate::session;

/// Partitions of a disk that this is not.
const DISK: &str = "cat > etc/fstab <<'FSTAB'
# from a disk
UUID=0aaaaaaa-1111-2222-3333-444444444444 / ext4 errors=remount-ro 0 1
UUID=1aaaaaaa-1111-2222-3333-444444444444 /home ext4 defaults 0 2
/dev/sda5 none swap sw 0 0
FSTAB
";

/// Debian's scripts check every line, and stop in a maintenance shell.
fn disk_of_before(tree: &str, signal: &str) -> Result<()> {
    let mut machine = Copied::new(tree, DISK)?;
    machine.fix(&["console-silent", "missing-terminals", "stop-signal"])?;
    let text = machine.is_silent()?;
    ensure!(
        text.contains("A maintenance shell will now be started"),
        "{text}"
    );
    machine.fix(&["fstab-devices"])?;
    ensure!(
        machine
            .read("etc/fstab")?
            .starts_with("# from a disk\n#UUID=0")
    );
    machine.logs_in(signal)?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

#[test]
fn disk_of_before_sysvinit() -> Result<()> {
    disk_of_before("bookworm-sysvinit", "SIGPWR")
}

#[test]
fn disk_of_before_openrc() -> Result<()> {
    disk_of_before("bookworm-openrc", "SIGPWR")
}

#[test]
fn disk_of_before_runit() -> Result<()> {
    disk_of_before("bookworm-runit", "SIGINT")
}

/// systemd only fails to mount / with that disk's options again.
#[test]
fn disk_of_before_systemd() -> Result<()> {
    let mut machine = Copied::new("bookworm-systemd", DISK)?;
    machine.logs_in("SIGRTMIN+4")?;
    let failed = "systemctl --failed --plain --no-legend --no-pager | cat";
    let seen = machine.console()?.run(failed, SHORT)?;
    ensure!(seen.contains("systemd-remount-fs.service"), "{seen}");
    powered_off(machine.stop()?)?;
    machine.fix(&["fstab-devices"])?;
    machine.logs_in("SIGRTMIN+4")?;
    let seen = machine.console()?.run(failed, SHORT)?;
    ensure!(!seen.contains("systemd-remount-fs.service"), "{seen}");
    powered_off(machine.stop()?)?;
    machine.finish()
}

/// A boot that ends elsewhere than in logins, until the default target is exchanged.
fn default_target(broken: &str) -> Result<()> {
    let mut machine = Copied::new("bookworm-systemd", broken)?;
    machine.is_silent()?;
    machine.fix(&["default-target"])?;
    machine.logs_in("SIGRTMIN+4")?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

#[test]
fn default_target_of_rescue() -> Result<()> {
    default_target("ln -sf /lib/systemd/system/rescue.target etc/systemd/system/default.target")
}

#[test]
fn default_target_that_is_gone() -> Result<()> {
    default_target("rm -f lib/systemd/system/default.target etc/systemd/system/default.target")
}

/// More than one language to choose from, none chosen, and a machine-id that says that nobody was asked yet.
const FIRST_BOOT: &str = "echo uninitialized > etc/machine-id
rm -f etc/locale.conf etc/default/locale
cp -a usr/lib/locale/C.utf8 usr/lib/locale/de_DE.utf8";

#[test]
fn first_boot_asks_nothing() -> Result<()> {
    let mut machine = Copied::new("bookworm-systemd", FIRST_BOOT)?;
    let text = machine.is_silent()?;
    ensure!(text.contains("Press any key to proceed"), "{text}");
    machine.finish()?;
    let mut machine = Copied::new("bookworm-systemd", FIRST_BOOT)?;
    machine.fix(&["first-boot"])?;
    machine.logs_in("SIGRTMIN+4")?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

/// networkd is there, has nothing to configure, and the boot is not finished before it has.
const ONLINE: &str = "cd etc/systemd/system
mkdir -p multi-user.target.wants network-online.target.wants
ln -s /lib/systemd/system/systemd-networkd.service multi-user.target.wants/
ln -s /lib/systemd/system/network-online.target multi-user.target.wants/
ln -s /lib/systemd/system/systemd-networkd-wait-online.service network-online.target.wants/";

#[test]
fn nobody_waits_for_a_network() -> Result<()> {
    let mut machine = Copied::new("bookworm-systemd", ONLINE)?;
    machine.logs_in("SIGRTMIN+4")?;
    let waits =
        "systemctl is-system-running --wait & sleep 20; systemctl list-jobs --no-pager | cat";
    let seen = machine.console()?.run(waits, SHORT)?;
    ensure!(
        seen.contains("systemd-networkd-wait-online.service start running"),
        "{seen}"
    );
    powered_off(machine.stop()?)?;
    machine.fix(&["container-services"])?;
    machine.logs_in("SIGRTMIN+4")?;
    let state = machine
        .console()?
        .run_status(
            "systemctl is-system-running --wait",
            Duration::from_secs(20),
        )
        .context("the boot goes on waiting")?;
    ensure!(!state.output.contains("starting"), "{}", state.output);
    powered_off(machine.stop()?)?;
    machine.finish()
}

/// The first of what cloud-init says when the service that it asks has not answered for a second.
const ASKS: &str = r"failed \[[1-9]\d*/\d+s\][^\n]*169\.254\.169\.254";

/// The login waits until cloud-init has given up, which it does after seconds in this tree.
#[test]
fn nobody_waits_for_a_cloud() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-cloud")?.with_password())?;
    let asks = Regex::new(ASKS)?;
    for (options, is_asked) in [(&["--no-fix"][..], true), (&[], false)] {
        let name = sandbox.name();
        let args = ["boot", &tree, "--ephemeral", "--name", &name];
        let mut console = sandbox.console(&[&args[..], options].concat())?;
        session::login(&mut console)?;
        let text = console.text();
        let (before, _) = text.split_once(" login: ").context("looking for it")?;
        ensure!(
            asks.is_match(before) == is_asked,
            "with {options:?}: {before}"
        );
        sandbox.ok(&["kill", &name])?;
        console.wait_exit(SHORT)?;
    }
    sandbox.finish()
}
