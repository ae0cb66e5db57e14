//! `repot kill`: a signal for PID 1.

use crate::args::Kill;
use crate::sessions;
use anyhow::bail;
use repot_model::Signal;
use repot_runtime::{Connection, Dirs, Waited, registry, stop};
use std::time::Duration;

pub(crate) fn run(args: &Kill) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    for name in &args.names {
        let state = sessions::state(&dirs, name)?;
        if args.signal == Signal::KILL && state.spec.needs.is_some() {
            // Until everything is cleaned up.
            let connection = Connection::open(&dirs, name)?;
            connection.announce_stop(false)?;
            stop::send(&state, args.signal)?;
            if connection.wait_end(Some(Duration::from_secs(30)))? == Waited::TimedOut {
                bail!("{name} does not end although it was killed");
            }
        } else {
            stop::send(&state, args.signal)?;
        }
    }
    Ok(0)
}
