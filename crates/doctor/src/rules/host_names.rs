//! The tree's `/etc/hosts` gives no address to `localhost`.
//!
//! Symptom: `ping: localhost: Name or service not known`; programs that talk to themselves do not start.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::reading::evidence;
use repot_model::{Finding, Libc, Remedy, Severity};
use repot_rootfs::format::hosts;

#[derive(Debug)]
pub(crate) struct HostNames;

static META: RuleMeta = RuleMeta {
    id: "host-names",
    severity: Severity::Cosmetic,
    summary: "localhost has no address",
    explain: "`localhost` is a name like any other: without a line in `/etc/hosts`, or glibc's module `myhostname`, nobody knows it. \
Images for application containers have an empty one, because Docker binds its own over it. A tree that has no such file at all may make \
it at boot (Guix System, NixOS), or do without it, and is left alone.\n\nrepot adds the line. By hand: `echo 127.0.0.1 localhost >>TREE/etc/hosts`.",
    sources: &[
        "hosts(5), nsswitch.conf(5), nss-myhostname(8)",
        "RFC 6761, section 6.3",
    ],
};

impl Rule for HostNames {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        const HOSTS: &str = "/etc/hosts";
        let tree = case.tree;
        let Some(text) = tree.text(HOSTS)? else {
            return Ok(Vec::new());
        };
        let is_bound = case.offers.mounts.iter().any(|path| path == HOSTS);
        let is_known = hosts::has_name(&text, "localhost");
        if case.facts.init.is_none() || is_known || is_bound || has_module(case)? {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            "nothing says what address localhost has",
            "localhost: Name or service not known",
        );
        finding.cause = "neither /etc/hosts nor a module of the C library knows it".into();
        finding.evidence = vec![evidence(HOSTS, None, "no line has localhost")];
        let text = hosts::add(&text, "127.0.0.1", "localhost");
        finding.edits = vec![edit::write(
            tree,
            HOSTS,
            text,
            "localhost is to have an address",
        )];
        finding.remedy = Remedy::Automatic;
        Ok(vec![finding])
    }
}

/// Whether glibc asks a module that knows the name by itself.
fn has_module(case: &Case<'_>) -> Result<bool> {
    if case.facts.libc != Some(Libc::Glibc) {
        return Ok(false);
    }
    let text = case.tree.text("/etc/nsswitch.conf")?.unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    Ok(lines.any(|line| {
        line.starts_with("hosts:")
            && line
                .split_ascii_whitespace()
                .any(|word| word == "myhostname" || word == "resolve")
    }))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};

    const RULE: &str = "host-names";

    fn tree() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .file("/etc/inittab", "")
    }

    #[test]
    fn a_line_is_added() {
        let fine = tree().file("/etc/hosts", "127.0.0.1 localhost\n");
        assert!(diagnose_for(&fine, &offers(), RULE).is_empty());
        assert!(diagnose_for(&tree(), &offers(), RULE).is_empty());
        mended(&tree().file("/etc/hosts", ""), &offers(), RULE);
        let own = tree().file("/etc/hosts", "# mine\n10.0.0.1 box\n");
        mended(&own, &offers(), RULE);
        assert_eq!(
            own.read("/etc/hosts"),
            "# mine\n127.0.0.1\tlocalhost\n10.0.0.1 box\n"
        );
        let mut bound = offers();
        bound.mounts.push("/etc/hosts".into());
        assert!(diagnose_for(&tree().file("/etc/hosts", ""), &bound, RULE).is_empty());
    }
}
