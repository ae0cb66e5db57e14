//! `/etc/resolv.conf` is a link to a file that nobody makes there.
//!
//! Symptom: `Temporary failure in name resolution`, although the network works.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::reading::evidence;
use repot_model::{Certainty, Change, Edit, Finding, Remedy, Resolver, Severity};

#[derive(Debug)]
pub(crate) struct ResolverLink;

static META: RuleMeta = RuleMeta {
    id: "resolver-link",
    severity: Severity::Degraded,
    summary: "/etc/resolv.conf leads to the file of a resolver that does not run",
    explain: "Distributions make `/etc/resolv.conf` a link to what a service writes below `/run`: systemd-resolved, resolvconf, \
NetworkManager, netconfig. In a tree whose service is not started the link leads nowhere, and what is in the tree's own `/run` is \
covered by a mount. With a network of its own, a machine has to see to that itself. With the host's network it needs the host's name \
servers, and some engines bind their own file in any case. For that there has to be a file to bind it over: systemd-nspawn, LXC and \
chroot leave a link that leads nowhere as it is, and in others the file ends up below `/run`.\n\n`repot boot` lays the host's file over \
the link if the machine is on the host's network. `repot fix --network host` makes an empty file of it, over which the engine binds, \
and so does repot for engines that bind their own. By hand: `rm TREE/etc/resolv.conf; touch TREE/etc/resolv.conf`.",
    sources: &[
        "resolv.conf(5), systemd-resolved.service(8)",
        "systemd/systemd#15340, #3649",
    ],
};

const PATH: &str = "/etc/resolv.conf";

impl Rule for ResolverLink {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let tree = case.tree;
        let Some(to) = tree.read_link(PATH).filter(|_| leads_nowhere(case)) else {
            return Ok(Vec::new());
        };
        if case.offers.resolver == Resolver::Machine || is_made(case, &to)? {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!("{PATH} leads to {to}, which nothing in the tree makes"),
            "Temporary failure in name resolution",
        );
        finding.evidence = vec![evidence(PATH, None, &format!("symlink to {to}"))];
        match case.offers.resolver {
            Resolver::Machine => {}
            Resolver::Repot => {
                finding.cause =
                    "the machine shares the host's network, whose name servers it does not know"
                        .into();
                finding.remedy = Remedy::Environment;
            }
            Resolver::Engine => {
                // Some bind it to where the link leads.
                finding.certainty = match case.offers.shares_network {
                    true => Certainty::Likely,
                    false => Certainty::Possible,
                };
                finding.cause = "the engine binds a file there, which needs a file".into();
                finding.remedy = Remedy::Automatic;
                finding.edits = vec![Edit {
                    path: tree.place(PATH),
                    change: Change::Write {
                        text: String::new(),
                        mode: Some(0o644),
                    },
                    why: "the engine binds one over it".into(),
                }];
            }
        }
        Ok(vec![finding])
    }
}

/// Whether there is no file, or one in a directory that the engine covers.
fn leads_nowhere(case: &Case<'_>) -> bool {
    let end = case.tree.resolve(PATH).filter(|_| case.tree.is_file(PATH));
    let covers = |end: &str, mount: &String| {
        let rest = end.strip_prefix(mount.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    end.is_none_or(|end| case.offers.mounts.iter().any(|mount| covers(&end, mount)))
}

/// Whether a service that a boot starts writes what the link leads to.
fn is_made(case: &Case<'_>, to: &str) -> Result<bool> {
    for (part, service) in [
        ("systemd/resolve", "systemd-resolved"),
        ("NetworkManager", "NetworkManager"),
        ("resolvconf", "resolvconf"),
        ("netconfig", "wicked"),
    ] {
        if !to.contains(part) {
            continue;
        }
        let unit = format!("{service}.service");
        for dir in [
            "/etc/systemd/system",
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
        ] {
            for name in case.tree.names(dir)? {
                let link = format!("{dir}/{name}/{unit}");
                if name.ends_with(".wants") && case.tree.symlink_kind(&link).is_some() {
                    return Ok(true);
                }
            }
        }
        for dir in [
            "/etc/runlevels/boot",
            "/etc/runlevels/default",
            "/etc/runit/runsvdir/default",
        ] {
            if case
                .tree
                .symlink_kind(&format!("{dir}/{service}"))
                .is_some()
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};
    use repot_model::{Remedy, Resolver};

    const RULE: &str = "resolver-link";

    #[test]
    fn dangling_links_where_somebody_else_knows_the_servers() {
        let tree = Tree::new().link(
            "/etc/resolv.conf",
            "../run/systemd/resolve/stub-resolv.conf",
        );
        assert!(diagnose_for(&tree, &offers(), RULE).is_empty());
        let mut shared = offers();
        shared.resolver = Resolver::Repot;
        assert_eq!(
            diagnose_for(&tree, &shared, RULE)[0].remedy,
            Remedy::Environment
        );
        let mut binds = offers();
        binds.resolver = Resolver::Engine;
        let enabled = Tree::new()
            .link(
                "/etc/resolv.conf",
                "../run/systemd/resolve/stub-resolv.conf",
            )
            .link(
                "/etc/systemd/system/multi-user.target.wants/systemd-resolved.service",
                "/x",
            );
        assert!(diagnose_for(&enabled, &binds, RULE).is_empty());
        mended(&tree, &binds, RULE);
        assert_eq!(tree.read("/etc/resolv.conf"), "");
    }

    /// Images of a running system have something in `/run`, which is covered; elsewhere it is there.
    #[test]
    fn links_to_files() {
        let bound = offers().on_hosts_network();
        for (to, file, is_found) in [
            (
                "../run/resolvconf/resolv.conf",
                "/run/resolvconf/resolv.conf",
                true,
            ),
            ("../runner/resolv.conf", "/runner/resolv.conf", false),
            ("resolv.conf.static", "/etc/resolv.conf.static", false),
        ] {
            let tree = Tree::new().file(file, "").link("/etc/resolv.conf", to);
            let found = diagnose_for(&tree, &bound, RULE);
            assert_eq!(!found.is_empty(), is_found, "{to}");
        }
    }
}
