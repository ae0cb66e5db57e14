//! `repot logs`: what the console has shown since boot.

use crate::args::Logs;
use crate::output;
use anyhow::anyhow;
use repot_model::{BootSpec, HintExt, Overlay};
use repot_runtime::escapes::replay;
use repot_runtime::{Connection, Dirs, SessionEnd, follow, registry};
use std::io::IsTerminal;
use std::path::PathBuf;

pub(crate) fn run(args: &Logs) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let running = registry::running(&dirs, &args.name);
    if running.is_none() && registry::record(&dirs, &args.name)?.is_none() {
        return Err(repot_runtime::Error::NoSuchMachine(args.name.clone()))
            .hint("`repot list` shows what there is")
            .map_err(Into::into);
    }
    let log = match &running {
        Some(state) => read(&dirs, &state.spec),
        None => read_from(dirs.machine(&args.name)),
    };
    if log.is_empty() && running.is_none() && registry::last_run(&dirs, &args.name).is_none() {
        return Err(anyhow!(
            "{} has no console log: it was never booted",
            args.name
        ));
    }
    let shown = tail(&log, args.lines);
    if std::io::stdout().is_terminal() {
        output::raw(&replay(shown));
    } else {
        output::raw(shown);
    }
    if args.follow && running.is_some() {
        let connection = Connection::open(&dirs, &args.name)?;
        return Ok(match follow(&connection)? {
            SessionEnd::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
            SessionEnd::Detached | SessionEnd::Closed | SessionEnd::Ended(_) => 0,
        });
    }
    Ok(0)
}

/// The log of a machine that runs.
pub(crate) fn read(dirs: &Dirs, spec: &BootSpec) -> Vec<u8> {
    read_from(if spec.root.overlay == Overlay::Ephemeral {
        dirs.running(&spec.name)
    } else {
        dirs.machine(&spec.name)
    })
}

/// The log in a machine's directory.
pub(crate) fn read_from(dir: PathBuf) -> Vec<u8> {
    let mut log = std::fs::read(dir.join("console.log.1")).unwrap_or_default();
    log.extend(std::fs::read(dir.join("console.log")).unwrap_or_default());
    log
}

/// The last lines.
fn tail(log: &[u8], lines: Option<usize>) -> &[u8] {
    let Some(lines) = lines else { return log };
    let end = log.strip_suffix(b"\n").map_or(log.len(), <[u8]>::len);
    let mut breaks = log[..end]
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    match (lines, breaks.nth(lines.saturating_sub(1))) {
        (0, _) => &[],
        (_, Some((at, _))) => &log[at + 1..],
        (_, None) => log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        let log = b"a\nb\nc\n";
        assert_eq!(tail(log, None), log);
        assert_eq!(tail(log, Some(0)), b"");
        assert_eq!(tail(log, Some(1)), b"c\n");
        assert_eq!(tail(log, Some(2)), b"b\nc\n");
        assert_eq!(tail(log, Some(9)), log);
        assert_eq!(tail(b"x\ny", Some(1)), b"y");
    }
}
