//! What repot starts of itself: the supervisor of a machine, and the login that it offers on an unserved console. Not for
//! people, so not part of the command line's definition, and dispatched before anything else is set up.

use crate::exit;
use crate::sessions::{self, Running};
use repot_model::MachineName;
use repot_runtime::{Dirs, Join, JoinStdio, join, supervisor_main};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs an internal command; `None`: this is none.
pub(crate) fn dispatch(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let args: Vec<String> = args
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let ok = match words.as_slice() {
        ["supervise", _name, starter, locks @ ..] => {
            let locks: Vec<_> = locks
                .iter()
                .map(|lock| lock.parse().ok())
                .collect::<Option<_>>()?;
            supervisor_main(starter.parse().ok()?, &locks).is_ok()
        }
        ["console-login", name] => console_login(&MachineName::new(name).ok()?).is_ok(),
        _ => return None,
    };
    Some(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FAILURE)
    })
}

/// A login that ends sooner than this was no login.
const TOO_SOON: Duration = Duration::from_secs(2);
/// Statuses of a login that a shutdown has ended: by SIGHUP, SIGKILL, SIGTERM.
const SHUTDOWN: [u8; 3] = [129, 137, 143];
/// How long nothing is started then. Debian's sendsigs gives processes ten seconds.
const PAUSE: Duration = Duration::from_secs(15);
/// How often it is looked meanwhile whether the machine has ended.
const GLANCE: Duration = Duration::from_millis(200);
/// So many of those in a row, and it is given up.
const MAX_TOO_SOON: u32 = 5;

/// Serves the console as an init would: a getty, again and again.
fn console_login(name: &MachineName) -> anyhow::Result<()> {
    let dirs = Dirs::from_env();
    // The supervisor has handed the console over as standard input. An init that has it as its controlling terminal would
    // keep the login from job control; without the privilege to take it away, the login does without.
    repot_runtime::free_console();
    let mut too_soon = 0;
    while too_soon < MAX_TOO_SOON {
        let running = sessions::running(&dirs, name)?;
        let started = Instant::now();
        let status = join(&running.state, &command(&running)?)?.wait()?;
        if SHUTDOWN.contains(&status) {
            // Whoever shuts down kills it first, and waits for it: a new one would be in the way.
            let end = Instant::now() + PAUSE;
            while Instant::now() < end {
                std::thread::sleep(GLANCE);
                // Not longer than there is a machine.
                sessions::state(&dirs, name)?;
            }
        }
        too_soon = if started.elapsed() < TOO_SOON {
            too_soon + 1
        } else {
            0
        };
    }
    Ok(())
}

/// The distribution's getty, else its login, else a shell: a tree without any way to ask for a password has nothing to protect
/// from whoever holds its console.
fn command(running: &Running) -> anyhow::Result<Join> {
    let facts = running.facts()?;
    let root = running.user("root")?;
    let mut command =
        match repot_doctor::getty_argv(&facts, "console", &sessions::term(&running.root))
            .or_else(|| facts.login.login.clone().map(|login| vec![login]))
        {
            Some(argv) => Join {
                argv,
                program: None,
                env: running.environment(&root, &[])?,
                cwd: "/".into(),
                cwd_or_root: true,
                uid: 0,
                gid: 0,
                groups: Vec::new(),
                stdio: JoinStdio::Console,
            },
            None => running.shell_command(&root, &[], &[])?,
        };
    command.stdio = JoinStdio::Console;
    Ok(command)
}
