//! Trees of another architecture: refused, or run by an emulator that the host's kernel starts.

use repot_doctor::Execution;
use repot_engines::Host;
use repot_model::{Arch, Decision, Facts, Handler, HintExt};
use repot_rootfs::RootRead;

/// Refuses a tree whose programs this machine cannot execute. What emulates its processor, if anything has to.
pub(crate) fn check(root: &RootRead, facts: &Facts) -> anyhow::Result<Option<Handler>> {
    let Some(arch) = facts.arch.filter(|arch| !arch.runs_on(Arch::host())) else {
        return Ok(None);
    };
    match repot_doctor::execution(root, facts, &Host::look().emulators) {
        Execution::Native => Ok(None),
        Execution::Emulated(handler) => Ok(Some(handler)),
        Execution::Impossible { why, hint } => Err(anyhow::anyhow!(
            "this is a tree for {arch}, this machine is {}, and {why}",
            Arch::host()
        ))
        .hint(hint)
        .map_err(Into::into),
    }
}

/// What is to be known of a machine that is emulated.
pub(crate) fn decision(emulator: &Handler, facts: &Facts) -> Decision {
    let arch = facts.arch.unwrap_or_else(Arch::host);
    let set_uid = match emulator.has('C') {
        true => "",
        false => "; without the flag C, set-uid programs get no privileges",
    };
    Decision {
        what: format!("its programs: run by {emulator}"),
        why: format!(
            "they are for {arch}, this host is {}{set_uid}",
            Arch::host()
        ),
    }
}
