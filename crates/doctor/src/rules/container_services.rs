//! Services that can only fail or wait in a container, and that do not look for themselves.
//!
//! Symptom: `A start job is running for Wait for Network to be Configured (1min 59s / no limit)`, `Failed to start Security Auditing
//! Service`. Most services for hardware look whether they are in a container and pass; what is listed here was seen not to.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit::Edits;
use crate::init::{self, Setup, Unwanted};
use crate::reading::{base_name, evidence};
use repot_model::{Certainty, Edit, Finding, Remedy, Severity};
use repot_rootfs::format::unit;

#[derive(Debug)]
pub(crate) struct ContainerServices;

static META: RuleMeta = RuleMeta {
    id: "container-services",
    severity: Severity::Degraded,
    summary: "services are started that only fail or wait in a container",
    explain: "Most services for hardware know by themselves that they have nothing to do in a container. Some do not:\n\n\
- `systemd-networkd-wait-online` waits two minutes for a network that is not there, and everything behind `network-online.target` \
with it; the boot is not finished as long.\n\
- `auditd` wants to be told by the kernel what happens in it, which the kernel only does for the host's own PID namespace.\n\
- `systemd-udevd`, where `/sys` is writable, takes the host's devices for its own: it triggers them all and renames network devices, \
and units wait for devices that never come.\n\nrepot switches off those that would be started, in the init's own way: masks for \
systemd, links out of the runlevels, `down` files. By hand: `systemctl --root=TREE mask systemd-networkd-wait-online.service`.",
    sources: &[
        "systemd-networkd-wait-online.service(8)",
        "Linux kernel/audit.c, audit_netlink_ok(): only in the initial PID and user namespace",
        "systemd: The Container Interface, on /sys",
        "lxc/lxc-ci#85, systemd/systemd#37709",
    ],
};

/// What an engine does not give to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// A host's namespaces: no engine does.
    Host,
    /// A network device that the tree configures.
    Network,
    /// A read-only `/sys`.
    ReadOnlySys,
}

/// Services that fail or wait for one reason.
struct Trouble {
    gap: Gap,
    /// Under all inits.
    services: &'static [&'static str],
    summary: &'static str,
    symptom: &'static str,
    cause: &'static str,
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        gap: Gap::Network,
        services: &["systemd-networkd-wait-online.service"],
        summary: "the boot waits for a network that the machine does not get",
        symptom: "A start job is running for Wait for Network to be Configured (1min 59s / no limit)",
        cause: "systemd-networkd has no device there that it is told to configure",
    },
    Trouble {
        gap: Gap::Host,
        services: &["auditd.service", "auditd"],
        summary: "the audit daemon cannot work in a container",
        symptom: "Failed to start Security Auditing Service.",
        cause: "the kernel takes audit commands from its first PID namespace only",
    },
    Trouble {
        gap: Gap::ReadOnlySys,
        services: &[
            "systemd-udev-settle.service",
            "systemd-udev-trigger.service",
            "systemd-udevd.service",
            "systemd-udevd-control.socket",
            "systemd-udevd-kernel.socket",
        ],
        summary: "udev would take the host's devices for its own",
        symptom: "A start job is running for /dev/... (1min 30s)",
        cause: "/sys is writable there, by which systemd tells a container from hardware",
    },
];

impl Rule for ContainerServices {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case.facts.init.as_ref().filter(|_| case.offers.is_pid1) else {
            return Ok(Vec::new());
        };
        let mut findings = Vec::new();
        for trouble in TROUBLES {
            let is_missing = match trouble.gap {
                Gap::Host => true,
                Gap::Network => waits_for_network(case)?,
                Gap::ReadOnlySys => !case.offers.sys.is_read_only(),
            };
            if !is_missing {
                continue;
            }
            let mut edits = Edits::new(case.tree);
            let mut finding = META.finding(trouble.summary, trouble.symptom);
            for service in trouble.services {
                let view = edits.view.clone();
                let setup = Setup {
                    tree: &view,
                    facts: case.facts,
                    init,
                };
                let off: Vec<Edit> =
                    init::system(init).switch_off(&setup, &Unwanted::Service(service))?;
                if let Some(edit) = off.first() {
                    let seen = format!("{service} is started at boot");
                    finding.evidence.push(evidence(&edit.path, None, &seen));
                }
                edits.add(off);
            }
            finding.edits = edits.done();
            if finding.edits.is_empty() {
                continue;
            }
            finding.cause = trouble.cause.into();
            finding.remedy = Remedy::Automatic;
            if trouble.gap != Gap::Host {
                finding.certainty = Certainty::Likely;
            }
            findings.push(finding);
        }
        Ok(findings)
    }
}

/// Where networkd's own configuration is (systemd.network(5)).
const NETWORK_DIRS: &[&str] = &[
    "/etc/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
];

/// Whether something waits for networkd's network, and networkd has none of the engine's devices to configure.
fn waits_for_network(case: &Case<'_>) -> Result<bool> {
    let tree = case.tree;
    let mut is_wanted = false;
    for dir in [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ] {
        for name in tree.names(dir)? {
            let link = format!("{dir}/{name}/network-online.target");
            if name.ends_with(".wants") && tree.symlink_kind(&link).is_some() {
                is_wanted = true;
            }
            // Services that are enabled name it themselves.
            if name.ends_with(".target.wants") && dir == "/etc/systemd/system" {
                for service in tree.names(&format!("{dir}/{name}"))? {
                    let text = tree
                        .text(&format!("{dir}/{name}/{service}"))?
                        .unwrap_or_default();
                    is_wanted |= unit::parse(&text).iter().any(|setting| {
                        setting.key == "Wants" && setting.value.contains("network-online.target")
                    });
                }
            }
        }
    }
    if !is_wanted {
        return Ok(false);
    }
    for device in &case.offers.interfaces {
        for dir in NETWORK_DIRS {
            for name in tree.names(dir)? {
                if !name.ends_with(".network") {
                    continue;
                }
                let text = tree.text(&format!("{dir}/{name}"))?.unwrap_or_default();
                let patterns = unit::get(&unit::parse(&text), "Match", "Name")
                    .map(|setting| setting.value.clone())
                    .unwrap_or_default();
                if patterns
                    .split_ascii_whitespace()
                    .any(|pattern| matches(pattern, device))
                {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// A shell pattern with `*` at its end, or a plain name.
fn matches(pattern: &str, name: &str) -> bool {
    match base_name(pattern).strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};

    const RULE: &str = "container-services";

    fn systemd() -> Tree {
        Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd")
    }

    fn online() -> Tree {
        let (lib, etc) = ("/lib/systemd/system", "/etc/systemd/system");
        systemd()
            .file(
                &format!("{lib}/systemd-networkd-wait-online.service"),
                "[Unit]\n",
            )
            .link(
                &format!("{etc}/network-online.target.wants/systemd-networkd-wait-online.service"),
                &format!("{lib}/systemd-networkd-wait-online.service"),
            )
    }

    #[test]
    fn waiting_is_switched_off_where_nothing_comes() {
        assert!(diagnose_for(&online(), &offers(), RULE).is_empty());
        let tree = online()
            .file(
                "/lib/systemd/system/cloud.service",
                "[Unit]\nWants=network-online.target\n",
            )
            .link(
                "/etc/systemd/system/multi-user.target.wants/cloud.service",
                "/lib/systemd/system/cloud.service",
            );
        let mut networked = offers();
        networked.interfaces = vec!["host0".into()];
        let configured = online()
            .link(
                "/etc/systemd/system/multi-user.target.wants/network-online.target",
                "/x",
            )
            .file(
                "/usr/lib/systemd/network/80-container-host0.network",
                "[Match]\nKind=veth\nName=host0\n",
            );
        assert!(diagnose_for(&configured, &networked, RULE).is_empty());
        assert_eq!(diagnose_for(&configured, &offers(), RULE).len(), 1);
        let found = mended(&tree, &networked, RULE);
        assert_eq!(
            found[0].edits[0].path,
            "/etc/systemd/system/systemd-networkd-wait-online.service"
        );
    }

    #[test]
    fn auditd_under_any_init() {
        let tree = systemd()
            .file("/lib/systemd/system/auditd.service", "[Unit]\n")
            .link(
                "/etc/systemd/system/multi-user.target.wants/auditd.service",
                "/lib/systemd/system/auditd.service",
            );
        mended(&tree, &offers(), RULE);
        let sysv = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "")
            .script("/etc/init.d/auditd", "#!/bin/sh\n")
            .link("/etc/rc2.d/S01auditd", "../init.d/auditd");
        mended(&sysv, &offers(), RULE);
        assert_eq!(
            sysv.root().read_link("/etc/rc2.d/K01auditd").unwrap(),
            "../init.d/auditd"
        );
        let openrc = Tree::new()
            .elf("/sbin/init", "openrc\0/run/openrc/init.ctl")
            .script("/etc/init.d/auditd", "#!/sbin/openrc-run\n")
            .link("/etc/runlevels/default/auditd", "/etc/init.d/auditd");
        mended(&openrc, &offers(), RULE);
        let runit = Tree::new()
            .elf("/usr/bin/runit-init", "/etc/runit/stopit\0/sbin/runit")
            .link("/sbin/init", "/usr/bin/runit-init")
            .script("/etc/sv/auditd/run", "#!/bin/sh\n")
            .link("/etc/runit/runsvdir/default/auditd", "/etc/sv/auditd");
        mended(&runit, &offers(), RULE);
    }

    #[test]
    fn udev_only_where_sys_is_writable() {
        let tree = systemd()
            .file("/lib/systemd/system/systemd-udevd.service", "[Unit]\n")
            .link(
                "/lib/systemd/system/sysinit.target.wants/systemd-udevd.service",
                "../systemd-udevd.service",
            );
        assert!(diagnose_for(&tree, &bare_offers(), RULE).is_empty());
        let mut writable = bare_offers();
        writable.sys = repot_model::Sys::Writable;
        mended(&tree, &writable, RULE);
    }
}
