//! Who listens where, and which signal ends it: trees whose systemd lets nobody in, gettys that go, inits that are taught a signal.

use anyhow::{Result, ensure};

use super::hand::{Copied, powered_off};
use crate::sandbox::SHORT;

/// A tree that shows no prompt until one rule has mended it.
fn silent_then_login(tree: &str, broken: &str, rule: &str) -> Result<()> {
    let mut machine = Copied::new(tree, broken)?;
    machine.is_silent()?;
    machine.fix(&[rule])?;
    machine.logs_in("SIGRTMIN+4")?;
    powered_off(machine.stop()?)?;
    machine.finish()
}

const MASKED: &str = "ln -s /dev/null etc/systemd/system/console-getty.service
ln -s /dev/null etc/systemd/system/getty.target";

/// As images for application containers have it.
#[test]
fn masked_console_getty() -> Result<()> {
    silent_then_login("bookworm-systemd", MASKED, "console-silent")
}

const DELETED: &str = "rm -f lib/systemd/system/console-getty.service
rm -f lib/systemd/system-generators/systemd-getty-generator";

#[test]
fn deleted_console_getty() -> Result<()> {
    silent_then_login("trixie-systemd", DELETED, "console-silent")
}

const NOT_WANTED: &str =
    "rm -f lib/systemd/system/*.wants/getty.target etc/systemd/system/*.wants/getty.target
sed -i 's/getty.target//g' lib/systemd/system/multi-user.target";

#[test]
fn getty_target_that_nothing_wants() -> Result<()> {
    silent_then_login("bookworm-systemd", NOT_WANTED, "console-silent")
}

/// A service of Debian's runit takes itself out of the tree where its terminal is missing, and no later boot has it any more.
#[test]
fn runit_keeps_its_gettys() -> Result<()> {
    const DIR: &str = "etc/runit/runsvdir/default";
    let mut machine = Copied::new("bookworm-runit", "")?;
    machine.is_silent()?;
    let gone = machine.names(DIR)?;
    ensure!(gone.contains(&".getty-tty1".to_owned()), "{gone:?}");
    machine.finish()?;
    let mut machine = Copied::new("bookworm-runit", "")?;
    machine.fix(&["console-silent", "missing-terminals"])?;
    machine.logs_in("SIGINT")?;
    powered_off(machine.stop()?)?;
    let kept = machine.names(DIR)?;
    ensure!(kept.contains(&"getty-tty1".to_owned()), "{kept:?}");
    machine.finish()
}

const DOUBLED: &str = "echo 'c1:2345:respawn:/sbin/getty -L console 115200 vt100' >> etc/inittab
echo 'c2:2345:respawn:/sbin/getty --noclear 38400 console' >> etc/inittab";

/// Two gettys on the console: one stays.
#[test]
fn one_getty_stays() -> Result<()> {
    let mut machine = Copied::new("bookworm-sysvinit", DOUBLED)?;
    machine.fix(&["shared-terminal", "missing-terminals"])?;
    let inittab = machine.read("etc/inittab")?;
    ensure!(
        inittab.contains("\n#c2:2345:") && inittab.contains("\nc1:2345:"),
        "{inittab}"
    );
    machine.logs_in("SIGKILL")?;
    let count = machine.console()?.run("pgrep -c getty", SHORT);
    // The one that logged in has become login.
    ensure!(
        count.is_err(),
        "a second getty reads the console: {count:?}"
    );
    machine.stop()?;
    machine.finish()
}

/// Debian's inittab answers SIGPWR with a script that is not there.
#[test]
fn sysvinit_is_taught_sigpwr() -> Result<()> {
    let mut machine = Copied::new("bookworm-sysvinit", "")?;
    machine.fix(&["console-silent"])?;
    machine.logs_in("SIGPWR")?;
    let console = machine.console()?;
    console.run("kill -PWR 1", SHORT)?;
    console.expect("cannot execute \"/etc/init.d/powerfail\"", SHORT)?;
    machine.finish()?;
    let mut machine = Copied::new("bookworm-sysvinit", "")?;
    machine.fix(&["console-silent", "stop-signal"])?;
    machine.logs_in("SIGPWR")?;
    powered_off(machine.stop()?)?;
    machine.finish()
}
