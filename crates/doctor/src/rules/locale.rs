//! The configured language is not installed.
//!
//! Symptom: `-bash: warning: setlocale: LC_ALL: cannot change locale (en_US.UTF-8)` at each login, and by each program of Perl.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::reading::evidence;
use repot_model::{Finding, Libc, Remedy, Severity};
use repot_rootfs::format::assignments;

#[derive(Debug)]
pub(crate) struct Locale;

static META: RuleMeta = RuleMeta {
    id: "locale",
    severity: Severity::Cosmetic,
    summary: "the language that is set is not installed",
    explain: "`/etc/locale.conf` or `/etc/default/locale` names a locale that glibc has no data for: images are made small by leaving \
them out. Every program that asks for it complains, and falls back to plain ASCII.\n\nrepot sets `C.UTF-8` in its place, which glibc \
has built in since 2.35 and Debian ships. By hand: install the language (`locale-gen`, `glibc-langpack-en`), or change the line.",
    sources: &[
        "locale.conf(5), locale(7), setlocale(3)",
        "glibc NEWS of 2.35",
    ],
};

impl Rule for Locale {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let tree = case.tree;
        // musl has no locale data; an archive may hold any.
        if case.facts.libc != Some(Libc::Glibc) || tree.is_file("/usr/lib/locale/locale-archive") {
            return Ok(Vec::new());
        }
        let mut findings = Vec::new();
        for path in ["/etc/locale.conf", "/etc/default/locale"] {
            let Some(text) = tree.text(path)? else {
                continue;
            };
            let mut edited = text.clone();
            let mut seen = Vec::new();
            for known in assignments::parse(&text) {
                let is_name = known.key == "LANG" || known.key.starts_with("LC_");
                if !is_name || is_installed(case, &known.value) {
                    continue;
                }
                edited = assignments::set(&edited, &known.key, "C.UTF-8");
                let line = format!("{}={}", known.key, known.value);
                seen.push(evidence(path, Some(known.line), &line));
            }
            let Some(first) = seen.first() else {
                continue;
            };
            // Debian's second file is a link to the first, or the other way round.
            if edited == text {
                continue;
            }
            let mut finding = META.finding(
                format!("{} is set, which is not installed", first.seen),
                "warning: setlocale: LC_ALL: cannot change locale",
            );
            finding.cause =
                "/usr/lib/locale has no such directory, and there is no locale-archive".into();
            finding.evidence = seen;
            finding.edits = vec![edit::write(
                tree,
                path,
                edited,
                "the language that is set is not installed",
            )];
            finding.remedy = Remedy::Automatic;
            findings.push(finding);
            if tree.read_link("/etc/default/locale").is_some() {
                break;
            }
        }
        Ok(findings)
    }
}

/// Whether glibc has data for a locale, whose character set it writes in small letters without dashes.
fn is_installed(case: &Case<'_>, name: &str) -> bool {
    let (language, rest) = name.split_once('.').unwrap_or((name, ""));
    if matches!(language, "" | "C" | "POSIX") || name.contains(['/', '$']) {
        return true;
    }
    let (set, modifier) = match rest.split_once('@') {
        Some((set, modifier)) => (set, format!("@{modifier}")),
        None => (rest, String::new()),
    };
    let short: String = set
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let dot = if short.is_empty() { "" } else { "." };
    [
        name.to_owned(),
        format!("{language}{dot}{short}{modifier}"),
        language.to_owned(),
    ]
    .iter()
    .any(|name| case.tree.is_dir(&format!("/usr/lib/locale/{name}")))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};

    const RULE: &str = "locale";

    fn glibc() -> Tree {
        Tree::new()
            .dynamic_elf("/sbin/init", "/lib64/ld-linux-x86-64.so.2")
            .elf("/lib64/ld-linux-x86-64.so.2", "")
    }

    #[test]
    fn a_language_without_data() {
        let tree = glibc().file(
            "/etc/default/locale",
            "# c\nLANG=en_US.UTF-8\nLANGUAGE=en\n",
        );
        mended(&tree, &offers(), RULE);
        assert_eq!(
            tree.read("/etc/default/locale"),
            "# c\nLANG=C.UTF-8\nLANGUAGE=en\n"
        );
        for fine in [
            glibc().file("/etc/locale.conf", "LANG=C.UTF-8\n"),
            glibc()
                .file("/etc/locale.conf", "LANG=de_DE.UTF-8\n")
                .dir("/usr/lib/locale/de_DE.utf8"),
            glibc()
                .file("/etc/locale.conf", "LANG=de_DE\n")
                .file("/usr/lib/locale/locale-archive", "x"),
        ] {
            assert!(diagnose_for(&fine, &offers(), RULE).is_empty());
        }
    }
}
