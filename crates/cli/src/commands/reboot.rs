//! `repot reboot`: asks the init to restart the machine.

use crate::args::Reboot;
use crate::{exit, output, sessions};
use anyhow::anyhow;
use repot_runtime::stop::{Stopped, reboot};
use repot_runtime::{Connection, Dirs, Waited, registry};
use std::time::Duration;

/// How long `--wait` waits for the machine to be ready again.
const READY: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &Reboot) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let name = &args.name;
    sessions::state(&dirs, name)?;
    let code = match reboot(&dirs, name, args.timeout.map(Duration::from_secs))? {
        Stopped::Restarted => 0,
        Stopped::Killed { why } => {
            output::note(format!("repot: {name} was killed and started again: {why}"));
            exit::FINDINGS
        }
        Stopped::Clean(_) => return Err(anyhow!("{name} has ended instead of restarting")),
    };
    if args.wait {
        match Connection::open(&dirs, name)?.wait_ready(Some(READY))? {
            Waited::Ready(ready) => output::line(format!("{name} is ready again: {}", ready.how)),
            Waited::Ended(_) => return Err(anyhow!("{name} has ended after its restart")),
            Waited::TimedOut => {
                return Err(anyhow!(
                    "{name} is not ready {} s after its restart",
                    READY.as_secs()
                ));
            }
        }
    }
    Ok(code)
}
