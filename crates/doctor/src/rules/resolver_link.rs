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
NetworkManager, netconfig. In a tree whose service is not started the link leads nowhere. With a network of its own, a machine has to \
see to that itself. Where the engine binds its own file there, or the machine shares the host's network, it needs a file that can be \
bound over or that has the host's name servers in it: through a link, the file ends up below `/run`, or nowhere.\n\nrepot lays the \
host's file over the link where the machine shares the host's network, and an empty file where the engine brings its own. By hand: \
`rm TREE/etc/resolv.conf; touch TREE/etc/resolv.conf`.",
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
        let Some(to) = tree.read_link(PATH).filter(|_| !tree.is_file(PATH)) else {
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
            Resolver::SharedNetwork => {
                finding.cause =
                    "the machine shares the host's network, whose name servers it does not know"
                        .into();
                finding.remedy = Remedy::Environment;
            }
            Resolver::Engine => {
                finding.certainty = Certainty::Possible;
                finding.cause = "the engine binds its own file there, which needs a file".into();
                finding.remedy = Remedy::Automatic;
                finding.edits = vec![Edit {
                    path: tree.place(PATH),
                    change: Change::Write {
                        text: String::new(),
                        mode: Some(0o644),
                    },
                    why: "the engine binds its own over it".into(),
                }];
            }
        }
        Ok(vec![finding])
    }
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
        shared.resolver = Resolver::SharedNetwork;
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
}
