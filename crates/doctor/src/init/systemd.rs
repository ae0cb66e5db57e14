//! systemd, of every version.
//!
//! Recognised by the path that `/sbin/init` leads to or by the greeting inside the binary. In a container its
//! getty generator starts `console-getty.service` on `/dev/console`; images of the RHEL family mask that.

use super::InitSystem;
use super::systemd_units;
use crate::control::{collect, protocol, run, signal};
use crate::reading::entries;
use crate::{Candidate, Result};
use repot_model::{CgroupVersion, Facts, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

/// Where `libsystemd-shared-NNN.so` is, beside directories per architecture below `/usr/lib`.
const LIBRARY_DIRS: &[&str] = &["/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"];

#[derive(Debug)]
pub(crate) struct Systemd;

impl InitSystem for Systemd {
    fn id(&self) -> &'static str {
        "systemd"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        let greeting = candidate
            .texts("systemd ")
            .find_map(|text| text.strip_prefix("systemd ")?.split_once(" running in "))
            .map(|(version, _)| version.to_owned());
        let by_path = candidate.resolved.ends_with("/lib/systemd/systemd");
        if !by_path && greeting.is_none() || candidate.resolved.starts_with("/nix/store/") {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "systemd");
        facts.version = match greeting {
            Some(version) => Some(version),
            None => library_version(root)?,
        };
        facts.cgroups = cgroups(major(facts.version.as_deref()));
        systemd_units::gettys(root, &mut facts)?;
        collect(root, &mut facts, &[]);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        needs(init)
    }
}

/// What systemd wants, also where something else starts it first (NixOS).
///
/// # Source
/// systemd(1), "Signals"; sd_notify(3) since 209 in the manager (`src/core/manager.c`, `manager_notify_finished`).
pub(crate) fn needs(init: &InitFacts) -> Needs {
    let source = "systemd(1): SIGRTMIN+4 starts poweroff.target, SIGRTMIN+5 reboot.target";
    Needs {
        argv: vec![init.path.clone()],
        env: Vec::new(),
        container: vec!["repot".to_owned()],
        cgroups: init.cgroups.clone(),
        power_off: protocol(
            [
                Some(signal(Signal::rtmin(4))),
                run(init, "systemctl", &["poweroff"]),
            ],
            // DefaultTimeoutStopSec is 90 s; a unit that hangs is given that much, and its successors a little.
            100,
            source,
        ),
        reboot: protocol(
            [
                Some(signal(Signal::rtmin(5))),
                run(init, "systemctl", &["reboot"]),
            ],
            100,
            source,
        ),
        ready: match major(init.version.as_deref()) {
            // An unknown version is far more often a new one.
            Some(..209) => ReadySign::Prompt,
            Some(_) | None => ReadySign::Notify,
        },
        uses_reboot_syscall: true,
    }
}

/// The first number of `252.39-1~deb12u2`.
pub(crate) fn major(version: Option<&str>) -> Option<u32> {
    let version = version?.trim_start_matches('v');
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version.get(..end)?.parse().ok()
}

/// The cgroup layouts that a version can use, best first.
///
/// # Source
/// systemd's NEWS: unified hierarchy since 226, in shape since 230; 256 refuses to run on v1; 258 removed it.
pub(crate) fn cgroups(major: Option<u32>) -> Vec<CgroupVersion> {
    match major {
        Some(..230) => vec![CgroupVersion::V1Systemd],
        Some(230..256) => vec![CgroupVersion::V2, CgroupVersion::V1Systemd],
        Some(256..) | None => vec![CgroupVersion::V2],
    }
}

/// The version in the name of systemd's private library (since about 231).
fn library_version(root: &RootRead) -> Result<Option<String>> {
    let mut dirs: Vec<String> = LIBRARY_DIRS.iter().map(|dir| (*dir).to_owned()).collect();
    for entry in entries(root, "/usr/lib")? {
        if entry.name.contains("-linux-") {
            dirs.push(format!("/usr/lib/{}/systemd", entry.name));
        }
    }
    for dir in dirs {
        for entry in entries(root, &dir)? {
            let version = entry
                .name
                .strip_prefix("libsystemd-shared-")
                .and_then(|rest| rest.strip_suffix(".so"));
            if let Some(version) = version {
                return Ok(Some(version.to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_cgroups() {
        use CgroupVersion::{V1Systemd, V2};
        for (version, expected) in [
            ("219", vec![V1Systemd]),
            ("229-4ubuntu21", vec![V1Systemd]),
            ("230", vec![V2, V1Systemd]),
            ("252.39-1~deb12u2", vec![V2, V1Systemd]),
            ("255", vec![V2, V1Systemd]),
            ("256~rc1", vec![V2]),
            ("v262.1", vec![V2]),
        ] {
            assert_eq!(cgroups(major(Some(version))), expected, "{version}");
        }
        assert_eq!(major(Some("")), None);
        assert_eq!(cgroups(None), [V2]);
    }
}
