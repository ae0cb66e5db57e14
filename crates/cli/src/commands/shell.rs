//! `repot shell`: a user's login shell in a machine.

use crate::args::Shell;
use crate::commands::exec;
use crate::sessions;
use repot_runtime::{Dirs, registry};

pub(crate) fn run(args: Shell) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let running = sessions::running(&dirs, &args.name)?;
    let user = running.user(&args.user)?;
    let command = running.shell_command(&user, &args.env, &args.command)?;
    exec::start(&running.state, command, None)
}
