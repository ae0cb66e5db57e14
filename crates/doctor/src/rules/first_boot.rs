//! A wizard asks on the console before anything else has started.
//!
//! Symptom: `Welcome to your new installation of ...! Please configure your system! -- Press any key to proceed --`, and the boot
//! waits for ever.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::init::{self, Setup, Unwanted};
use crate::reading::evidence;
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::format::unit;

#[derive(Debug)]
pub(crate) struct FirstBoot;

static META: RuleMeta = RuleMeta {
    id: "first-boot",
    severity: Severity::NoBoot,
    summary: "the first boot asks questions on the console and waits for answers",
    explain: "A tree whose `/etc/machine-id` is missing or says `uninitialized` boots for the first time as systemd sees it, and \
`systemd-firstboot.service` asks for what is not set yet: language, keyboard, time zone, root's password. It does so before \
`sysinit.target`, so a boot that nobody watches stays there. Images are published in that state on purpose.\n\nrepot masks the \
service where it would have something to ask. By hand: `ln -s /dev/null TREE/etc/systemd/system/systemd-firstboot.service`, or write \
`/etc/locale.conf` and `/etc/localtime`.",
    sources: &[
        "systemd-firstboot(1), machine-id(5)",
        "systemd src/firstboot/firstboot.c, prompt_locale(), prompt_timezone()",
    ],
};

const SERVICE: &str = "systemd-firstboot.service";

impl Rule for FirstBoot {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case
            .facts
            .init
            .as_ref()
            .filter(|init| init.id.0 == "systemd")
        else {
            return Ok(Vec::new());
        };
        let tree = case.tree;
        let machine_id = tree.text("/etc/machine-id")?;
        // An empty file means "make one, but this is no first boot" (machine-id(5)).
        let is_first = machine_id
            .as_deref()
            .is_none_or(|id| id.trim() == "uninitialized");
        let unit = ["/etc", "/usr/lib", "/lib"]
            .iter()
            .map(|dir| format!("{dir}/systemd/system/{SERVICE}"))
            .find(|path| tree.is_file(path));
        let (true, Some(unit)) = (is_first, unit) else {
            return Ok(Vec::new());
        };
        let settings = unit::parse(&tree.text(&unit)?.unwrap_or_default());
        let Some(command) = unit::get(&settings, "Service", "ExecStart") else {
            return Ok(Vec::new());
        };
        let asks = |what: &str| {
            let all = ["--prompt", "--prompt-all"];
            let own = format!("--prompt-{what}");
            command
                .value
                .split_ascii_whitespace()
                .any(|word| word == own || all.contains(&word))
        };
        let mut questions = Vec::new();
        if asks("locale") && !tree.is_file("/etc/locale.conf") && locales(case)? > 1 {
            questions.push("/etc/locale.conf");
        }
        if asks("keymap")
            && !tree.is_file("/etc/vconsole.conf")
            && tree.is_dir("/usr/share/keymaps")
        {
            questions.push("/etc/vconsole.conf");
        }
        if asks("timezone") && tree.symlink_kind("/etc/localtime").is_none() {
            questions.push("/etc/localtime");
        }
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let setup = Setup {
            tree,
            facts: case.facts,
            init,
        };
        let edits = init::system(init).switch_off(&setup, &Unwanted::Service(SERVICE))?;
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!("{SERVICE} would ask for {}", questions.join(", ")),
            "-- Press any key to proceed --",
        );
        finding.certainty = Certainty::Likely;
        finding.cause =
            "/etc/machine-id says that this is the first boot, and something is not set".into();
        let id = machine_id.map_or("does not exist".to_owned(), |id| id.trim().to_owned());
        finding.evidence = vec![
            evidence("/etc/machine-id", None, &id),
            evidence(&unit, Some(command.line), &command.value),
        ];
        finding.remedy = Remedy::Automatic;
        finding.edits = edits;
        Ok(vec![finding])
    }
}

/// How many languages there are to choose from: with one, that one is taken.
fn locales(case: &Case<'_>) -> Result<usize> {
    let dir = "/usr/lib/locale";
    let names = case.tree.names(dir)?;
    // An archive holds any number.
    let archive = usize::from(names.iter().any(|name| name == "locale-archive")) * 2;
    let single = names
        .iter()
        .filter(|name| case.tree.is_dir(&format!("{dir}/{name}")));
    Ok(archive + single.count())
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};

    const RULE: &str = "first-boot";

    fn tree() -> Tree {
        Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd")
            .file(
                "/lib/systemd/system/systemd-firstboot.service",
                "[Service]\nExecStart=systemd-firstboot --prompt-locale --prompt-timezone --prompt-root-password\n",
            )
            .link(
                "/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service",
                "../systemd-firstboot.service",
            )
            .dir("/usr/lib/locale/C.utf8")
            .link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    }

    #[test]
    fn nothing_to_ask_is_fine() {
        assert!(diagnose_for(&tree(), &offers(), RULE).is_empty());
        let not_first = tree()
            .dir("/usr/lib/locale/de_DE.utf8")
            .file("/etc/machine-id", "");
        assert!(diagnose_for(&not_first, &offers(), RULE).is_empty());
        let masked = tree()
            .dir("/usr/lib/locale/de_DE.utf8")
            .link("/etc/systemd/system/systemd-firstboot.service", "/dev/null");
        assert!(diagnose_for(&masked, &offers(), RULE).is_empty());
    }

    #[test]
    fn the_wizard_is_masked() {
        let tree = tree()
            .dir("/usr/lib/locale/de_DE.utf8")
            .file("/etc/machine-id", "uninitialized\n");
        let found = mended(&tree, &offers(), RULE);
        assert!(found[0].summary.contains("/etc/locale.conf"));
    }
}
