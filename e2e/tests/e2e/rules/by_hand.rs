//! Trees of every init, mended by `repot fix` and started by hand with nothing but `systemd-nspawn`: a prompt, a login, and a
//! power-off by the signal that the rule says.

use anyhow::Result;

use super::hand::{Copied, powered_off};

/// Silent as it is; mended, it logs in and powers off.
fn by_hand(tree: &str, signal: &str) -> Result<()> {
    let mut silent = Copied::new(tree, "")?;
    silent.is_silent()?;
    silent.finish()?;
    let mut mended = Copied::new(tree, "")?;
    mended.fix(&[])?;
    mended.logs_in(signal)?;
    powered_off(mended.stop()?)?;
    // What the boot has written itself does not bring a rule back.
    mended.fix(&[])?;
    mended.finish()
}

#[test]
fn sysvinit() -> Result<()> {
    by_hand("bookworm-sysvinit", "SIGPWR")
}

#[test]
fn openrc_on_sysvinit() -> Result<()> {
    by_hand("bookworm-openrc", "SIGPWR")
}

#[test]
fn openrc_init() -> Result<()> {
    by_hand("sid-openrc-init", "SIGTERM")
}

#[test]
fn runit() -> Result<()> {
    by_hand("bookworm-runit", "SIGINT")
}

#[test]
fn finit() -> Result<()> {
    by_hand("bookworm-finit", "SIGUSR2")
}

#[test]
fn busybox() -> Result<()> {
    by_hand("bookworm-busybox", "SIGUSR2")
}

/// Its inittab also runs a program that is not there.
#[test]
fn busybox_alpine() -> Result<()> {
    by_hand("busybox-alpine", "SIGUSR2")
}

#[test]
fn s6_svscan() -> Result<()> {
    by_hand("bookworm-s6", "SIGUSR1")
}

/// A getty on a serial line, and nowhere else.
#[test]
fn serial() -> Result<()> {
    by_hand("bookworm-serial", "SIGPWR")
}
