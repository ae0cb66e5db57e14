//! LXD, started by each test for itself.

use anyhow::{Result, ensure};
use repot_e2e::lxd::Lxd;

use crate::boot;
use crate::life::Case;
use crate::sandbox::Sandbox;

/// Has something done in LXD, which must be as empty afterwards as it was before.
fn in_lxd(test: impl FnOnce(&mut Sandbox) -> Result<()>) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let lxd = Lxd::start(&sandbox.dir().join("lxd"))?;
    for (name, value) in lxd.env() {
        sandbox.set_variable(&name, &value);
    }
    test(&mut sandbox)?;
    let left = lxd.contents()?;
    ensure!(left.is_empty(), "LXD still has {left:?}");
    drop(lxd);
    sandbox.finish()
}

fn cell(case: &Case) -> Result<()> {
    in_lxd(|sandbox| super::cell_in(sandbox, case, "lxd"))
}

/// Tests of a tree each.
macro_rules! cells {
    ($($test:ident = $case:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                cell(&boot::$case)
            }
        )*
    };
}

// One for each way in which they differ; `cargo xtask table` goes through all.
cells!(
    bullseye_systemd = BULLSEYE_SYSTEMD,
    sid_systemd = SID_SYSTEMD,
    bookworm_sysvinit = BOOKWORM_SYSVINIT,
    sid_openrc_init = SID_OPENRC_INIT,
    bookworm_runit = BOOKWORM_RUNIT,
    bookworm_finit = BOOKWORM_FINIT,
    bookworm_s6 = BOOKWORM_S6,
    busybox_alpine = BUSYBOX_ALPINE,
    trixie_guix = TRIXIE_GUIX,
);

#[test]
fn kept() -> Result<()> {
    in_lxd(|sandbox| super::kept_in(sandbox, &boot::BOOKWORM_SYSTEMD, "lxd"))
}

#[test]
fn orphaned() -> Result<()> {
    in_lxd(|sandbox| super::orphaned_in(sandbox, &boot::BOOKWORM_RUNIT, "lxd"))
}
