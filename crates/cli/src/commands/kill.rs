//! `repot kill`: a signal for PID 1.

use crate::args::Kill;
use crate::sessions;
use repot_runtime::{Dirs, registry, stop};

pub(crate) fn run(args: &Kill) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    for name in &args.names {
        if registry::supervised(&dirs, name).is_none() {
            sessions::state(&dirs, name)?;
        }
        stop::kill(&dirs, name, args.signal)?;
    }
    Ok(0)
}
