//! Programs of the tree that end or restart the machine, and the stop protocols made from them.
//!
//! An inspection lists those that exist, by absolute path; `needs` then picks from the list, so that no argv ever
//! names a program that is not there.

use crate::reading::{PROGRAM_DIRS, base_name, program_in};
use repot_model::{InitFacts, Signal, StopAction, StopProtocol};
use repot_rootfs::RootRead;

/// Programs worth listing.
const NAMES: &[&str] = &[
    "poweroff",
    "halt",
    "reboot",
    "shutdown",
    "telinit",
    "init",
    "initctl",
    "systemctl",
    "openrc-shutdown",
    "dinitctl",
    "dinit-shutdown",
    "s6-linux-init-hpr",
    "s6-linux-init-shutdown",
    "s6-svscanctl",
    "herd",
];

/// Adds to the facts every control program found in the usual directories.
pub(crate) fn collect(root: &RootRead, facts: &mut InitFacts) {
    collect_in(root, facts, PROGRAM_DIRS);
}

/// The same for other directories.
pub(crate) fn collect_in(root: &RootRead, facts: &mut InitFacts, dirs: &[&str]) {
    let found = NAMES.iter().filter_map(|name| program_in(root, dirs, name));
    facts.control.extend(found);
}

/// `argv` with the listed program `name` and its arguments, if the tree has it.
pub(crate) fn run(facts: &InitFacts, name: &str, args: &[&str]) -> Option<StopAction> {
    let program = facts.control.iter().find(|path| base_name(path) == name)?;
    let argv = std::iter::once(program.as_str()).chain(args.iter().copied());
    Some(StopAction::Run {
        argv: argv.map(str::to_owned).collect(),
    })
}

/// The init itself called with arguments, as in `/sbin/init 0`.
pub(crate) fn run_init(facts: &InitFacts, args: &[&str]) -> StopAction {
    let argv = std::iter::once(facts.path.as_str()).chain(args.iter().copied());
    StopAction::Run {
        argv: argv.map(str::to_owned).collect(),
    }
}

/// A signal to PID 1.
pub(crate) fn signal(signal: Signal) -> StopAction {
    StopAction::Signal { signal }
}

/// A protocol from what is possible, in order.
pub(crate) fn protocol(
    requests: impl IntoIterator<Item = Option<StopAction>>,
    patience_s: u32,
    source: &str,
) -> StopProtocol {
    let mut known: Vec<StopAction> = Vec::new();
    for request in requests.into_iter().flatten() {
        if !known.contains(&request) {
            known.push(request);
        }
    }
    StopProtocol {
        requests: known,
        patience_s,
        source: source.to_owned(),
    }
}
