//! The tree brings up network devices that the engine does not give.
//!
//! Symptom: `Cannot find device "eth0"`, `Failed to bring up eth0.`, `Failed to start Raise network interfaces`.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit::{self, Edits};
use crate::init::{self, Setup, Unwanted};
use crate::reading::evidence;
use repot_model::{Finding, Remedy, Severity};
use repot_rootfs::format::interfaces;

#[derive(Debug)]
pub(crate) struct NetworkDevices;

static META: RuleMeta = RuleMeta {
    id: "network-devices",
    severity: Severity::Degraded,
    summary: "network devices are brought up at boot that the machine does not get",
    explain: "ifupdown's `auto eth0` and OpenRC's `net.eth0` bring up a device at boot. A machine has the devices that its engine \
gives it, often under another name (`host0`, `eth0`) and often none; the service then fails, and with it what needs it.\n\nrepot takes \
the names out of the `auto` lines and the services out of the runlevels; the configuration itself stays, so that `ifup eth0` works where \
there is an `eth0`. By hand: put a `#` before `auto eth0` in `/etc/network/interfaces`.",
    sources: &[
        "interfaces(5), ifup(8)",
        "OpenRC: net.lo, one service per device",
    ],
};

impl Rule for NetworkDevices {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let offers = case.offers;
        let Some(init) = case.facts.init.as_ref().filter(|_| offers.is_pid1) else {
            return Ok(Vec::new());
        };
        // With the host's network, nobody knows here which devices there are.
        if offers.shares_network {
            return Ok(Vec::new());
        }
        let is_missing =
            |name: &str| is_hardware(name) && !offers.interfaces.iter().any(|known| known == name);
        let tree = case.tree;
        let mut edits = Edits::new(tree);
        let mut missing = Vec::new();
        let mut seen = Vec::new();
        if tree.is_executable("/sbin/ifup") || tree.is_executable("/usr/sbin/ifup") {
            for path in files(case)? {
                let Some(text) = tree.text(&path)? else {
                    continue;
                };
                let mut edited = text.clone();
                for auto in interfaces::autos(&text) {
                    if !is_missing(&auto.device) {
                        continue;
                    }
                    edited = interfaces::without_auto(&edited, &auto.device);
                    seen.push(evidence(
                        &path,
                        Some(auto.line),
                        &format!("auto {}", auto.device),
                    ));
                    missing.push(auto.device);
                }
                if edited != text {
                    let why = "the machine has no such device";
                    edits.add(vec![edit::write(tree, &path, edited, why)]);
                }
            }
        }
        for level in ["boot", "default"] {
            for name in tree.names(&format!("/etc/runlevels/{level}"))? {
                let Some(device) = name
                    .strip_prefix("net.")
                    .filter(|device| is_missing(device))
                else {
                    continue;
                };
                let view = edits.view.clone();
                let setup = Setup {
                    tree: &view,
                    facts: case.facts,
                    init,
                };
                edits.add(init::system(init).switch_off(&setup, &Unwanted::Service(&name))?);
                seen.push(evidence(
                    &format!("/etc/runlevels/{level}/{name}"),
                    None,
                    "in this runlevel",
                ));
                missing.push(device.to_owned());
            }
        }
        missing.sort_unstable();
        missing.dedup();
        let (Some(first), edits) = (missing.first(), edits.done()) else {
            return Ok(Vec::new());
        };
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!(
                "the boot brings up {}, which the machine does not get",
                missing.join(", ")
            ),
            format!("Cannot find device \"{first}\""),
        );
        finding.cause = match offers.interfaces.is_empty() {
            true => "the engine gives no network device but lo".into(),
            false => format!("the engine gives {}", offers.interfaces.join(", ")),
        };
        finding.evidence = seen;
        finding.remedy = Remedy::Automatic;
        finding.edits = edits;
        if let Some(given) = offers.interfaces.first() {
            finding.hint = Some(format!(
                "for a network, add `auto {given}` and `iface {given} inet dhcp`, or what it is for {}",
                init.name
            ));
        }
        Ok(vec![finding])
    }
}

/// `/etc/network/interfaces` and the files that Debian's has sourced.
fn files(case: &Case<'_>) -> Result<Vec<String>> {
    let main = "/etc/network/interfaces";
    let mut files = vec![main.to_owned()];
    let text = case.tree.text(main)?.unwrap_or_default();
    if text
        .lines()
        .any(|line| line.starts_with("source") && line.contains("interfaces.d"))
    {
        let dir = "/etc/network/interfaces.d";
        let names = case.tree.names(dir)?;
        files.extend(names.into_iter().map(|name| format!("{dir}/{name}")));
    }
    Ok(files)
}

/// Whether a name is one that the kernel or udev gives to hardware, and not one of a bridge, a bond, a VLAN or a tunnel.
///
/// # Source
/// systemd.net-naming-scheme(7).
fn is_hardware(name: &str) -> bool {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    is_plain
        && ["eth", "en", "wlan", "wl", "usb"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};

    const RULE: &str = "network-devices";

    #[test]
    fn ifupdown() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "")
            .elf("/sbin/ifup", "")
            .file(
                "/etc/network/interfaces",
                "source /etc/network/interfaces.d/*\nauto lo eth0\niface eth0 inet dhcp\nauto br0 eth0.5\n",
            )
            .file("/etc/network/interfaces.d/more", "auto enp1s0\n");
        let mut shared = offers();
        shared.shares_network = true;
        assert!(diagnose_for(&tree, &shared, RULE).is_empty());
        let mut given = offers();
        given.interfaces = vec!["eth0".into()];
        assert_eq!(diagnose_for(&tree, &given, RULE)[0].evidence.len(), 1);
        let found = mended(&tree, &offers(), RULE);
        assert_eq!(found[0].evidence.len(), 2);
        assert_eq!(
            tree.read("/etc/network/interfaces"),
            "source /etc/network/interfaces.d/*\nauto lo\niface eth0 inet dhcp\nauto br0 eth0.5\n"
        );
        assert_eq!(
            tree.read("/etc/network/interfaces.d/more"),
            "#auto enp1s0\n"
        );
    }

    #[test]
    fn openrc() {
        let tree = Tree::new()
            .elf("/sbin/init", "openrc\0/run/openrc/init.ctl")
            .link("/etc/runlevels/default/net.eth0", "/etc/init.d/net.eth0")
            .link("/etc/runlevels/boot/net.lo", "/etc/init.d/net.lo");
        let found = mended(&tree, &offers(), RULE);
        assert_eq!(found[0].edits[0].path, "/etc/runlevels/default/net.eth0");
    }
}
