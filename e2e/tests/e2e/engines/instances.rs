//! What the tests of LXD and of Incus have in common: each starts a daemon of its own.

use std::path::Path;

use anyhow::{Result, ensure};
use repot_e2e::instances::Instances;

use crate::sandbox::Sandbox;

/// How one is started, in a directory that does not exist yet.
pub type Start = fn(&Path) -> Result<Instances>;

/// Has something done in it; it must be as empty afterwards as it was before.
pub fn within(start: Start, test: impl FnOnce(&mut Sandbox) -> Result<()>) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let instances = start(&sandbox.dir().join("instances"))?;
    for (name, value) in instances.env() {
        sandbox.set_variable(&name, &value);
    }
    test(&mut sandbox)?;
    let left = instances.contents()?;
    ensure!(left.is_empty(), "there is still {left:?}");
    drop(instances);
    sandbox.finish()
}

/// Tests of a tree each, that a machine is kept, and that none outlives its supervisor: `instances!("lxd", lxd::start:
/// bookworm_runit = BOOKWORM_RUNIT, ...)`.
macro_rules! instances {
    ($engine:literal, $start:path: $($test:ident = $case:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                crate::engines::instances::within($start, |sandbox| {
                    crate::engines::cell_in(sandbox, &crate::boot::$case, $engine)
                })
            }
        )*

        #[test]
        fn kept() -> anyhow::Result<()> {
            crate::engines::instances::within($start, |sandbox| {
                crate::engines::kept_in(sandbox, &crate::boot::BOOKWORM_SYSTEMD, $engine)
            })
        }

        #[test]
        fn orphaned() -> anyhow::Result<()> {
            crate::engines::instances::within($start, |sandbox| {
                crate::engines::orphaned_in(sandbox, &crate::boot::BOOKWORM_RUNIT, $engine)
            })
        }
    };
}
pub(crate) use instances;
