//! `repot exec`: a command in a machine, its output, error and status kept apart.

use crate::args::Exec;
use crate::sessions;
use repot_model::RuntimeState;
use repot_runtime::{Dirs, Join, JoinStdio, Pump, registry};
use std::io::IsTerminal;
use std::os::fd::OwnedFd;

pub(crate) fn run(args: Exec) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let running = sessions::running(&dirs, &args.name)?;
    let user = running.user(&args.user)?;
    let command = Join {
        env: running.environment(&user, &args.env)?,
        argv: args.command,
        program: None,
        cwd_or_root: args.workdir.is_none(),
        cwd: args.workdir.unwrap_or_else(|| user.home.clone()),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        stdio: JoinStdio::Pty {
            stderr: None,
            name: None,
        },
    };
    let wish = match (args.tty, args.no_tty) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    };
    start(&running.state, command, wish)
}

/// Runs it on a terminal of its own if the caller has one (or `wish` says so), else on the caller's files.
pub(crate) fn start(
    state: &RuntimeState,
    mut command: Join,
    wish: Option<bool>,
) -> anyhow::Result<u8> {
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if wish.unwrap_or(has_terminal) {
        // An error output that was sent elsewhere stays there.
        let redirected = has_terminal && !std::io::stderr().is_terminal();
        let stderr: Option<OwnedFd> = if redirected {
            Some(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3)?)
        } else {
            None
        };
        command.stdio = JoinStdio::Pty { stderr, name: None };
        return sessions::start(state, &command);
    }
    let (pump, stdio) = Pump::new()?;
    command.stdio = JoinStdio::Files(stdio);
    let joined = sessions::enter(state, &command)?;
    // Only the program's copies of the pipes may be left, so that their end is its end.
    drop(command);
    pump.run(joined.pidfd(), None)?;
    Ok(joined.wait()?)
}
