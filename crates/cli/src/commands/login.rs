//! `repot login`: a session on a fresh terminal, by the distribution's own programs.

use crate::args::Login;
use crate::sessions;
use repot_runtime::{Dirs, registry};

pub(crate) fn run(args: &Login) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let running = sessions::running(&dirs, &args.name)?;
    let command = if args.prompt {
        running.prompt_command()?
    } else {
        running.login_command(&running.user(&args.user)?)?
    };
    sessions::start(&running.state, &command)
}
