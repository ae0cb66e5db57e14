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
mod systemd_units;
mod sysvinit;
mod upstart;

use crate::{Candidate, Result};
use repot_model::{Evidence, Facts, InitFacts, Needs};
use repot_rootfs::RootRead;

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
            if !["mod", "generic", "inittab", "systemd-units"].contains(&stem.as_str()) {
                assert!(ids.contains(&stem.as_str()), "{stem} is in no list");
            }
        }
    }
}
