//! fstab names devices that a container does not have.
//!
//! Symptom: `A maintenance shell will now be started` and `Give root password for maintenance`; `Timed out waiting for device`,
//! `You are in emergency mode`; or only `mount: can't find UUID=...`.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::reading::evidence;
use repot_model::{Certainty, Finding, InitFacts, Remedy, Severity};
use repot_rootfs::format::fstab::{self, Entry};

#[derive(Debug)]
pub(crate) struct FstabDevices;

static META: RuleMeta = RuleMeta {
    id: "fstab-devices",
    severity: Severity::NoBoot,
    summary: "fstab names block devices that a container does not have",
    explain: "A tree that was copied off a disk names that disk's partitions in `/etc/fstab`, and a container has no block \
devices. Init scripts that run fsck(8) over the file fail on the first line with a pass number and stop in a maintenance shell, which \
asks for root's password. systemd waits 90 seconds for each device and then stops in emergency mode, unless `/sys` is read-only, by \
which it sees that devices are not its business; only the line of `/` then still makes `systemd-remount-fs.service` fail.\n\nrepot \
makes comments of those lines; `noauto` and `nofail` lines, network and virtual file systems stay. By hand: put a `#` before them.",
    sources: &[
        "fstab(5), fsck(8), systemd.mount(5)",
        "systemd src/fstab-generator/fstab-generator.c: \"Running in a container, ignoring fstab device entry\"",
        "Debian initscripts: /etc/init.d/checkfs.sh, checkroot.sh",
    ],
};

const FSTAB: &str = "/etc/fstab";

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Message,
    FailedUnit,
    Wait,
    Maintenance,
}

impl Rule for FstabDevices {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let (Some(init), Some(text)) = (&case.facts.init, case.tree.text(FSTAB)?) else {
            return Ok(Vec::new());
        };
        if !case.offers.is_pid1 {
            return Ok(Vec::new());
        }
        let checks = runs_fsck(case);
        let mut worst = Effect::None;
        let mut lines = Vec::new();
        let mut finding = META.finding("", "");
        for entry in fstab::parse(&text) {
            let effect = effect(case, init, &entry, checks.is_some());
            if effect == Effect::None {
                continue;
            }
            if worst == Effect::None || effect as u8 > worst as u8 {
                worst = effect;
            }
            lines.push(entry.line);
            let seen = format!("{} {} {}", entry.source, entry.place, entry.kind);
            finding
                .evidence
                .push(evidence(FSTAB, Some(entry.line), &seen));
        }
        let (severity, symptom, cause) = match worst {
            Effect::None => return Ok(Vec::new()),
            Effect::Message => (
                Severity::Cosmetic,
                "mount: can't find UUID=...",
                "mount -a tries every line and goes on",
            ),
            Effect::FailedUnit => (
                Severity::Cosmetic,
                "Failed to start Remount Root and Kernel File Systems.",
                "the options of / are those of a file system that it is not on",
            ),
            Effect::Wait => (
                Severity::NoBoot,
                "Timed out waiting for device ... You are in emergency mode.",
                "/sys is writable there, so systemd takes devices for its business and waits for them",
            ),
            Effect::Maintenance => (
                Severity::NoBoot,
                "A maintenance shell will now be started. Give root password for maintenance",
                "fsck fails for a device that does not exist, and the boot stops there",
            ),
        };
        finding.summary = match lines.len() {
            1 => "a line of fstab names a device that is not there".to_owned(),
            count => format!("{count} lines of fstab name devices that are not there"),
        };
        (finding.severity, finding.symptom, finding.cause) =
            (severity, symptom.into(), cause.into());
        finding
            .evidence
            .extend(checks.filter(|_| worst == Effect::Maintenance).map(|path| {
                finding.certainty = Certainty::Likely;
                evidence(&path, None, "runs fsck over fstab")
            }));
        let edited = fstab::disable(&text, &lines);
        finding.edits = vec![edit::write(
            case.tree,
            FSTAB,
            edited,
            "a container has no block devices",
        )];
        finding.remedy = Remedy::Automatic;
        Ok(vec![finding])
    }
}

fn effect(case: &Case<'_>, init: &InitFacts, entry: &Entry, checks: bool) -> Effect {
    if !entry.needs_device() || entry.has_option("noauto") {
        return Effect::None;
    }
    let is_root = entry.place == "/";
    let is_swap = entry.kind == "swap";
    if matches!(init.id.0.as_str(), "systemd" | "nixos") {
        return match (case.offers.sys.is_read_only(), is_root) {
            // Its own device is not waited for, but / is mounted again with its options.
            (true, true) => Effect::FailedUnit,
            (true, false) => Effect::None,
            (false, true) => Effect::FailedUnit,
            (false, false) if entry.has_option("nofail") => Effect::None,
            (false, false) => Effect::Wait,
        };
    }
    if checks && entry.pass > 0 && !is_swap && !entry.has_option("nofail") {
        return Effect::Maintenance;
    }
    match is_swap || entry.has_option("nofail") {
        true => Effect::None,
        false => Effect::Message,
    }
}

/// The script that checks file systems at boot, if there is one.
fn runs_fsck(case: &Case<'_>) -> Option<String> {
    // OpenRC's own service knows containers by itself; Debian's scripts are run by sysvinit, OpenRC and runit alike.
    [
        "/etc/init.d/checkfs.sh",
        "/etc/rc.d/rc.S",
        "/etc/rc.d/rc.sysinit",
    ]
    .into_iter()
    .find(|path| case.tree.is_executable(path))
    .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};
    use repot_model::Severity;

    const RULE: &str = "fstab-devices";
    const FSTAB: &str = "# a disk\nUUID=1 / ext4 errors=remount-ro 0 1\nUUID=2 /home ext4 defaults 0 2\n\
        /dev/sr0 /media/cdrom iso9660 noauto 0 0\n/dev/sda3 none swap sw 0 0\nproc /proc proc defaults 0 0\n\
        10.0.0.1:/srv /srv nfs defaults 0 0\n";

    fn sysvinit() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "")
    }

    fn systemd() -> Tree {
        Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd")
    }

    #[test]
    fn scripts_that_check_stop_there() {
        let tree = sysvinit()
            .script("/etc/init.d/checkfs.sh", "#!/bin/sh\n")
            .file("/etc/fstab", FSTAB);
        let found = mended(&tree, &offers(), RULE);
        assert_eq!(found[0].severity, Severity::NoBoot);
        assert_eq!(tree.read("/etc/fstab"), FSTAB.replace("UUID=", "#UUID="));
        let tree = sysvinit().file("/etc/fstab", FSTAB);
        assert_eq!(
            mended(&tree, &offers(), RULE)[0].severity,
            Severity::Cosmetic
        );
    }

    #[test]
    fn systemd_waits_only_where_sys_is_writable() {
        let tree = systemd().file("/etc/fstab", FSTAB);
        let found = diagnose_for(&tree, &offers(), RULE);
        assert_eq!(
            (found[0].severity, found[0].evidence.len()),
            (Severity::Cosmetic, 1)
        );
        let mut writable = bare_offers();
        writable.sys = repot_model::Sys::Writable;
        let found = mended(&tree, &writable, RULE);
        assert_eq!(
            (found[0].severity, found[0].evidence.len()),
            (Severity::NoBoot, 3)
        );
    }

    #[test]
    fn virtual_file_systems_are_fine() {
        let tree = sysvinit()
            .script("/etc/init.d/checkfs.sh", "#!/bin/sh\n")
            .file(
                "/etc/fstab",
                "# UNCONFIGURED FSTAB FOR BASE SYSTEM\nproc /proc proc defaults 0 0\n",
            );
        assert!(diagnose_for(&tree, &offers(), RULE).is_empty());
    }
}
