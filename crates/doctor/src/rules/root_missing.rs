//! There is no account root.

use super::{Case, Rule, RuleMeta};
use crate::login::{Root, are_accounts_made};
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Finding, Remedy, Severity};
use repot_rootfs::format::lines::Lines;

#[derive(Debug)]
pub(crate) struct RootMissing;

static META: RuleMeta = RuleMeta {
    id: "root-missing",
    severity: Severity::NoLogin,
    summary: "there is no account root",
    explain: "**Symptom**: `Login incorrect` for root; programs say `unknown user root` or show the number 0; services that want `root` by \
name fail.\n\n**Cause**: `/etc/passwd` is missing or has no line for user ID 0: an image for one application, or a tree that makes its \
accounts at first boot and was packed before.\n\n**What repot does**: it adds a line for root, with the best shell of the tree and without a \
password; `--root-password -` sets one. Guix System and NixOS make their accounts at every boot and are left alone.\n\n**By hand**: \
`echo 'root:x:0:0:root:/root:/bin/sh' >>TREE/etc/passwd`.",
    sources: &["passwd(5), group(5)"],
};

impl Rule for RootMissing {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let is_made = are_accounts_made(case.tree);
        let unread = case
            .facts
            .unread
            .iter()
            .any(|seen| seen.path == "/etc/passwd");
        if case.facts.init.is_none() || is_made || unread || Root::read(case.tree)?.is_some() {
            return Ok(Vec::new());
        }
        let shells = ["/bin/bash", "/bin/sh"];
        let shell = shells
            .into_iter()
            .find(|path| case.tree.is_executable(path))
            .unwrap_or("/bin/sh");
        let old = case.tree.text("/etc/passwd")?;
        let mut finding = META.finding("there is no account root", "Login incorrect");
        finding.cause = "no line of /etc/passwd has the user ID 0".into();
        let seen = match old {
            Some(_) => "no line for user ID 0",
            None => "does not exist",
        };
        finding.evidence = vec![evidence("/etc/passwd", None, seen)];
        let why = "root needs a line there to log in";
        let entry = format!("root:x:0:0:root:/root:{shell}");
        let edit = match old {
            Some(_) => edit::rewrite(case.tree, "/etc/passwd", why, |text| {
                let mut lines = Lines::parse(text);
                lines.push(&entry);
                lines.to_string()
            })?,
            None => Some(edit::write(
                case.tree,
                "/etc/passwd",
                format!("{entry}\n"),
                why,
            )),
        };
        if let Some(edit) = edit {
            finding.remedy = Remedy::Automatic;
            finding.edits.push(edit);
        }
        Ok(vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;

    #[test]
    fn a_line_is_added() {
        let tree = || {
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .elf("/bin/sh", "")
        };
        mends(&tree(), &offers(), &Wishes::default(), "root-missing");
        let others = tree().file("/etc/passwd", "app:x:1:1::/:/bin/sh");
        mends(&others, &offers(), &Wishes::default(), "root-missing");
        for fine in [
            tree().file("/etc/passwd", "toor:x:0:0::/:/bin/sh\n"),
            tree().dir("/gnu/store"),
            tree().fifo("/etc/passwd"),
        ] {
            assert!(diagnose_for(&fine, &offers(), "root-missing").is_empty());
        }
    }
}
