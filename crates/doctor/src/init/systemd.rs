//! systemd, of every version.
//!
//! Recognised by the path that `/sbin/init` leads to or by the greeting inside the binary. In a container its
//! getty generator starts `console-getty.service` on `/dev/console`; images of the RHEL family mask that.

use super::{Hearing, InitSystem, Setup, Unwanted, systemd_edits, systemd_units};
use crate::control::{collect, protocol, run, signal};
use crate::reading::{base_name, entries};
use crate::{Candidate, Result};
use repot_model::{CgroupVersion, Edit, Facts, InitFacts, Needs, ReadySign, Signal};
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
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        needs(init)
    }

    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        match tty {
            "console" => systemd_edits::console_getty(setup),
            _ => Ok(Vec::new()),
        }
    }

    fn find_console(&self, setup: &Setup<'_>) -> Result<Vec<Edit>> {
        match major(setup.init.version.as_deref()) {
            Some(..258) => Ok(Vec::new()),
            // An unknown version is far more often a new one.
            Some(_) | None => systemd_edits::console_by_name(setup),
        }
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        match what {
            // systemd starts no getty on a terminal that does not exist (ConditionPathExists=/dev/tty0, BindsTo=dev-%i.device).
            Unwanted::Terminal(_) => Ok(Vec::new()),
            Unwanted::Getty(getty) => {
                let unit = base_name(&getty.evidence.path);
                systemd_edits::mask(setup.tree, unit, "one login is enough there")
            }
            Unwanted::Service(unit) => systemd_edits::switch_off(setup.tree, unit),
        }
    }

    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        systemd_edits::hear(setup.tree, wanted)
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
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, Signal, StopAction};

    fn tree() -> Tree {
        Tree::new()
            .elf("/usr/lib/systemd/systemd", "systemd 252.39-1~deb12u2 running in %ssystem mode (%s)")
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .elf("/sbin/agetty", "")
            .elf("/bin/systemctl", "")
            .file("/usr/lib/systemd/system/getty.target", "[Unit]\n")
            .file("/usr/lib/systemd/system/multi-user.target", "[Unit]\nRequires=basic.target\n")
            .link("/usr/lib/systemd/system/multi-user.target.wants/getty.target", "../getty.target")
            .file(
                "/usr/lib/systemd/system/console-getty.service",
                "[Service]\nExecStart=-/sbin/agetty -o '-p -- \\\\u' --noclear --keep-baud - 115200 $TERM\n",
            )
            .script("/usr/lib/systemd/system-generators/systemd-getty-generator", "x")
    }

    #[test]
    fn an_ordinary_tree() {
        let tree = tree();
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.path.as_str()),
            ("systemd", "/sbin/init")
        );
        assert_eq!(init.resolved, "/usr/lib/systemd/systemd");
        assert_eq!(init.version.as_deref(), Some("252.39-1~deb12u2"));
        assert_eq!(ttys(&init), [("console", GettyKind::Login)]);
        let needs = tree.needs();
        assert_eq!(needs.argv, ["/sbin/init"]);
        assert_eq!(needs.ready, ReadySign::Notify);
        assert_eq!(
            needs.power_off.requests[0],
            StopAction::Signal {
                signal: Signal::rtmin(4)
            }
        );
        assert_eq!(
            needs.reboot.requests[1],
            StopAction::Run {
                argv: vec!["/bin/systemctl".into(), "reboot".into()]
            }
        );
    }

    #[test]
    fn masks_are_evidence() {
        for (masked, tree) in [
            (
                "getty.target",
                tree().link("/etc/systemd/system/getty.target", "/dev/null"),
            ),
            (
                "console-getty.service",
                tree().file("/etc/systemd/system/console-getty.service", ""),
            ),
            (
                "systemd-getty-generator",
                tree().link(
                    "/etc/systemd/system-generators/systemd-getty-generator",
                    "/dev/null",
                ),
            ),
        ] {
            let init = tree.init();
            assert!(init.gettys.is_empty(), "{masked}");
            assert_eq!(init.broken_gettys.len(), 1, "{masked}");
            assert!(init.broken_gettys[0].path.ends_with(masked));
        }
    }

    #[test]
    fn a_drop_in_may_log_in_by_itself() {
        let tree = tree().file(
            "/etc/systemd/system/console-getty.service.d/auto.conf",
            "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root - $TERM\n",
        );
        assert_eq!(ttys(&tree.init()), [("console", GettyKind::Autologin)]);
    }

    #[test]
    fn the_library_tells_the_version() {
        let tree = Tree::new().elf("/lib/systemd/systemd", "no greeting").file(
            "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-247.so",
            "",
        );
        assert_eq!(tree.init().version.as_deref(), Some("247"));
    }

    #[test]
    fn old_ones_want_v1_and_have_no_notify() {
        let tree = Tree::new().elf("/sbin/init", "systemd 204 running in system mode.");
        assert_eq!(tree.needs().ready, ReadySign::Prompt);
        assert_eq!(tree.needs().cgroups, [CgroupVersion::V1Systemd]);
    }

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
