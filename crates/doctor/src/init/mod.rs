//! The inits that repot knows, one file each: how it is recognised, who listens on terminals, what it needs.
//!
//! To add one: a file here with an `InitSystem`, and a line in each of the two lists below. The detectors exclude
//! each other, so their order does not matter; `generic` takes what nobody recognised.

mod busybox;
mod dinit;
mod finit;
mod generic;
mod inittab;
mod nixos;
mod openrc;
mod procd;
mod runit;
mod s6_linux_init;
mod s6_overlay;
mod s6_svscan;
mod shepherd;
mod systemd;
mod systemd_edits;
mod systemd_units;
mod sysv_rc;
mod sysvinit;
mod upstart;

use crate::{Candidate, Result, View};
use repot_model::{Edit, Evidence, Facts, Getty, InitFacts, Needs, Signal, StopAction};
use repot_rootfs::RootRead;
pub(crate) use systemd::major as systemd_version;

/// One init system.
pub trait InitSystem: Sync + std::fmt::Debug {
    /// Its ID: the name of its file, with `-` for `_`.
    fn id(&self) -> &'static str;

    /// Whether the candidate is this init, and all that can be learnt of it.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>>;

    /// What it wants, from facts alone.
    fn needs(&self, init: &InitFacts, facts: &Facts) -> Needs;

    /// Whether it asks for names itself, and starts no getty for that.
    fn is_getty(&self) -> bool {
        false
    }

    /// The edits that make it put a login on a terminal, given by its name below `/dev`. None: no file of the tree does that.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    fn listen(&self, _setup: &Setup<'_>, _tty: &str) -> Result<Vec<Edit>> {
        Ok(Vec::new())
    }

    /// The edits without which its login on the console does not find that where `/sys` can be written to. None: it finds it.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    fn find_console(&self, _setup: &Setup<'_>) -> Result<Vec<Edit>> {
        Ok(Vec::new())
    }

    /// The edits that keep it from starting something. None: it does not start it, or no file of the tree keeps it from that.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    fn switch_off(&self, _setup: &Setup<'_>, _what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        Ok(Vec::new())
    }

    /// Whether it powers off on a signal, or on any at all, and what makes it do so.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        Ok(heard(&self.needs(setup.init, setup.facts), wanted))
    }
}

/// What an init's file looks at to change how it is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The tree, with the edits so far.
    pub tree: &'a View<'a>,
    /// What it is, before any edit.
    pub facts: &'a Facts,
    /// Its init.
    pub init: &'a InitFacts,
}

impl Setup<'_> {
    /// The command that puts a login on a terminal, in one line. `None`: the tree has no getty, or no login.
    pub(crate) fn getty(&self, tty: &str) -> Option<String> {
        let term = crate::known_term(self.tree.root(), "vt220");
        Some(crate::getty_argv(self.facts, tty, &term)?.join(" "))
    }
}

/// Something that an init is not to start.
#[derive(Debug, Clone, Copy)]
pub enum Unwanted<'a> {
    /// A getty whose terminal does not exist. An init that copes with that leaves it alone.
    Terminal(&'a Getty),
    /// A getty, whether its terminal exists or not.
    Getty(&'a Getty),
    /// A service by its name: a unit with its suffix, an init script, a service directory.
    Service(&'a str),
}

/// Whether a signal powers an init off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// As the tree is, this one does.
    Hears(Signal),
    /// This one does once the edits are made.
    Once(Signal, Vec<Edit>),
    /// None does, and no edit helps.
    Never,
}

/// By the signals among an init's own requests.
pub(crate) fn heard(needs: &Needs, wanted: Option<Signal>) -> Hearing {
    let mut signals = needs
        .power_off
        .requests
        .iter()
        .filter_map(|request| match request {
            StopAction::Signal { signal } => Some(*signal),
            StopAction::Run { .. } | StopAction::Touch { .. } => None,
        });
    match wanted {
        Some(wanted) => signals.find(|signal| *signal == wanted),
        None => signals.next(),
    }
    .map_or(Hearing::Never, Hearing::Hears)
}

/// The file of the init with these facts.
pub(crate) fn system(init: &InitFacts) -> &'static dyn InitSystem {
    let known = INITS.iter().find(|known| known.id() == init.id.0);
    known.map_or(&GENERIC, |known| *known)
}

/// All inits but `generic`, sorted by ID.
pub static INITS: &[&dyn InitSystem] = &[
    &busybox::Busybox,
    &dinit::Dinit,
    &finit::Finit,
    &nixos::NixOs,
    &openrc::OpenRcInit,
    &procd::Procd,
    &runit::Runit,
    &s6_linux_init::S6LinuxInit,
    &s6_overlay::S6Overlay,
    &s6_svscan::S6Svscan,
    &shepherd::Shepherd,
    &systemd::Systemd,
    &sysvinit::SysVInit,
    &upstart::Upstart,
];

/// For programs that could be PID 1 but are none of the above.
pub(crate) static GENERIC: generic::Generic = generic::Generic;

/// The facts of a candidate.
pub(crate) fn detect(root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
    for known in INITS {
        if let Some(facts) = known.detect(root, candidate)? {
            return Ok(Some(facts));
        }
    }
    GENERIC.detect(root, candidate)
}

/// Guix System, whose argv is made from its system profile: no file of the tree is the init.
pub(crate) fn guix_system(
    root: &RootRead,
    rejected: &mut Vec<Evidence>,
) -> Result<Option<InitFacts>> {
    shepherd::guix_system(root, rejected)
}

/// The store directory of a NixOS or Guix System, which holds what `/etc` and the usual directories do elsewhere.
pub(crate) fn system_dir(init: &InitFacts) -> Option<String> {
    match init.id.0.as_str() {
        "nixos" => nixos::system_dir(init),
        "shepherd" => shepherd::system_dir(init),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "reads this crate's own folder")]
    fn the_list_is_sorted_and_matches_the_folder() {
        let ids: Vec<&str> = INITS.iter().map(|init| init.id()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/init");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".rs").replace('_', "-");
            // Shared parsers, and the fallback.
            if ![
                "mod",
                "generic",
                "inittab",
                "systemd-edits",
                "systemd-units",
                "sysv-rc",
            ]
            .contains(&stem.as_str())
            {
                assert!(ids.contains(&stem.as_str()), "{stem} is in no list");
            }
        }
    }
}
