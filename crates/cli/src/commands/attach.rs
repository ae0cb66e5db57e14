//! `repot attach`: the console of a running machine, beginning with what is on it.

use crate::args::Attach;
use crate::{commands, sessions};
use repot_runtime::escapes::replay;
use repot_runtime::{Connection, Dirs, attach};

/// How much of the console's past is shown: about a screen.
const BACKLOG_BYTES: usize = 2048;

pub(crate) fn run(args: &Attach) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let state = sessions::state(&dirs, &args.name)?;
    let connection = Connection::open(&dirs, &args.name)?;
    let log = commands::logs::read(&dirs, &state.spec);
    let start = log.len().saturating_sub(BACKLOG_BYTES);
    // From the beginning of a line, so that no escape sequence is cut in two.
    let backlog = &log[start..];
    let line = if start == 0 {
        0
    } else {
        backlog
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1)
    };
    let end = attach(&connection, &replay(&backlog[line..]))?;
    Ok(commands::boot::after(&args.name, end))
}
