//! GNU Shepherd: Guix System, where no file is the init, and trees whose `/sbin/init` is the Shepherd.
//!
//! Guix System is started as its own boot loader and images do: Guile runs the system's `boot` file, which
//! activates (accounts, `/etc`, `/run/current-system`) and then becomes the Shepherd. Started directly, the
//! Shepherd would find none of that.

use super::InitSystem;
use crate::candidate;
use crate::control::{collect, collect_in, protocol, run, signal};
use crate::getty::{push, tty_name};
use crate::reading::{base_name, evidence, optional, text};
use crate::{Candidate, Result, packages};
use repot_model::{Evidence, Facts, GettyKind, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

/// The system that boots by default.
const PROFILE: &str = "/var/guix/profiles/system";

/// The variable by which `boot` learns which system it belongs to (Guix `gnu/system.scm`).
const SYSTEM: &str = "GUIX_NEW_SYSTEM";

#[derive(Debug)]
pub(crate) struct Shepherd;

impl InitSystem for Shepherd {
    fn id(&self) -> &'static str {
        "shepherd"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        // A program at /sbin/init that starts a Guix System as it wants to be started (rule `init-place`).
        if candidate
            .script_text()
            .is_some_and(|script| script.contains(SYSTEM))
        {
            return guix_system(root, &mut Vec::new());
        }
        let by_name = base_name(&candidate.resolved) == "shepherd";
        let executes = candidate.script_text().is_some_and(|script| {
            script.lines().any(|line| {
                let mut words = line.split_ascii_whitespace();
                words.next() == Some("exec") && words.any(|word| base_name(word) == "shepherd")
            })
        });
        if !by_name && !executes {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "GNU Shepherd");
        facts.version = packages::version(root, &["shepherd"])?;
        for config in [
            "/etc/shepherd.scm",
            "/etc/shepherd/init.scm",
            "/etc/shepherd.conf",
        ] {
            gettys(root, &mut facts, config)?;
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let argv = std::iter::once(&init.path)
            .chain(&init.args)
            .cloned()
            .collect();
        let source = "Shepherd manual, \"Invoking halt\" and \"Invoking reboot\": they are `herd power-off root` and \
                      `herd stop root`; every signal that ends it (INT, TERM, HUP) ends in a reboot";
        Needs {
            argv,
            env: init.env.clone(),
            container: vec!["repot".to_owned()],
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    run(init, "herd", &["power-off", "root"]),
                    run(init, "halt", &[]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    run(init, "reboot", &[]),
                    run(init, "herd", &["stop", "root"]),
                    Some(signal(Signal::INT)),
                ],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }
}

/// Guix System, from its system profile.
pub(crate) fn guix_system(
    root: &RootRead,
    rejected: &mut Vec<Evidence>,
) -> Result<Option<InitFacts>> {
    let Some(system) = optional(root.resolve(PROFILE))? else {
        if let Some(link) = optional(root.read_link(PROFILE))? {
            rejected.push(evidence(
                PROFILE,
                None,
                &format!("symlink to {link}, which does not exist"),
            ));
        }
        return Ok(None);
    };
    let boot = format!("{system}/boot");
    if !root.is_file(&boot) {
        rejected.push(evidence(&boot, None, "does not exist: no Guix System"));
        return Ok(None);
    }
    let guile = format!("{system}/profile/bin/guile");
    let candidate = match candidate::check(root, &guile, true)? {
        Ok(candidate) => candidate,
        Err(reason) => {
            rejected.push(evidence(&guile, None, &reason));
            return Ok(None);
        }
    };
    let mut facts = candidate.facts("shepherd", "GNU Shepherd (Guix System)");
    facts.evidence = vec![
        evidence(PROFILE, None, &format!("leads to {system}")),
        evidence(&boot, None, "the system's boot program, for Guile"),
    ];
    facts.version = shepherd_version(root, &system)?;
    facts.args = vec!["--no-auto-compile".to_owned(), boot];
    facts.env = vec![(SYSTEM.to_owned(), system.clone())];
    gettys(root, &mut facts, &format!("{system}/shepherd.conf"))?;
    let (bin, sbin) = (
        format!("{system}/profile/bin"),
        format!("{system}/profile/sbin"),
    );
    collect_in(root, &mut facts, &[&sbin, &bin]);
    Ok(Some(facts))
}

/// The system's directory in the store.
pub(crate) fn system_dir(init: &InitFacts) -> Option<String> {
    let found = init.env.iter().find(|(name, _)| name == SYSTEM);
    found.map(|(_, system)| system.clone())
}

/// The version in the store path of the Shepherd that the profile holds: `/gnu/store/HASH-shepherd-1.0.3`.
fn shepherd_version(root: &RootRead, system: &str) -> Result<Option<String>> {
    let resolved = optional(root.resolve(&format!("{system}/profile/bin/herd")))?;
    Ok(resolved.and_then(|path| {
        let (_, rest) = path.split_once("-shepherd-")?;
        rest.split('/').next().map(str::to_owned)
    }))
}

/// Services named `term-TTY` in a configuration. It is a program in Scheme, so this only searches its text.
///
/// # Source
/// Guix `gnu/services/base.scm`: mingetty-service-type and agetty-service-type provide `term-TTY`; each service is
/// a file `/gnu/store/HASH-shepherd-term-TTY.go`. An agetty without a terminal is named term-console, takes its
/// line from the kernel's command line, and has none in a container.
fn gettys(root: &RootRead, facts: &mut InitFacts, config: &str) -> Result<()> {
    let Some(content) = text(root, config)? else {
        return Ok(());
    };
    for (number, line) in (1..).zip(content.lines()) {
        for (at, _) in line.match_indices("term-") {
            let rest = line.get(at + "term-".len()..).unwrap_or_default();
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let Some(tty) = rest.get(..end).and_then(tty_name) else {
                continue;
            };
            let seen = evidence(config, Some(number), &format!("term-{tty}"));
            if tty == "console" && !names_console(root, &content, line)? {
                let why = "term-console: on the serial line of the kernel's command line, if any";
                if !facts.broken_gettys.iter().any(|known| known.seen == why) {
                    facts
                        .broken_gettys
                        .push(evidence(config, Some(number), why));
                }
                continue;
            }
            push(facts, &tty, GettyKind::Login, seen);
        }
    }
    Ok(())
}

/// Whether `term-console` is a getty on `/dev/console`: the terminal's name stands in the configuration, or in the
/// compiled file of the service.
fn names_console(root: &RootRead, content: &str, line: &str) -> Result<bool> {
    if content.contains("\"console\"") {
        return Ok(true);
    }
    let file = line
        .split(['"', ' ', '(', ')', '\''])
        .find(|word| word.starts_with("/gnu/store/") && word.contains("-shepherd-term-console"));
    let Some(file) = file else {
        return Ok(false);
    };
    let compiled = optional(root.read(file, 1 << 20))?.unwrap_or_default();
    Ok(repot_rootfs::contains(&compiled, "mingetty"))
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, StopAction};

    const SYSTEM: &str = "/gnu/store/abc-system";

    fn tree() -> Tree {
        Tree::new()
            .link("/var/guix/profiles/system", "system-1-link")
            .link("/var/guix/profiles/system-1-link", SYSTEM)
            .file("/gnu/store/def-boot", "(boot)")
            .link("/gnu/store/abc-system/boot", "/gnu/store/def-boot")
            .link("/gnu/store/abc-system/profile", "/gnu/store/ghi-profile")
            .elf("/gnu/store/jkl-guile-3.0.9/bin/guile", "")
            .link("/gnu/store/ghi-profile/bin/guile", "/gnu/store/jkl-guile-3.0.9/bin/guile")
            .script("/gnu/store/mno-shepherd-1.0.3/bin/herd", "#!/x\n")
            .link("/gnu/store/ghi-profile/bin/herd", "/gnu/store/mno-shepherd-1.0.3/bin/herd")
            .file(
                "/gnu/store/abc-system/shepherd.conf",
                "(load-compiled \"/gnu/store/1-shepherd-term-tty1.go\")\n(load-compiled \"/gnu/store/2-shepherd-term-console.go\")\n",
            )
    }

    #[test]
    fn guix_system() {
        let tree = tree().file("/gnu/store/2-shepherd-term-console.go", "agetty serial");
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("shepherd", Some("1.0.3"))
        );
        assert_eq!(ttys(&init), [("tty1", GettyKind::Login)]);
        assert_eq!(init.broken_gettys.len(), 1);
        let needs = tree.needs();
        assert_eq!(
            needs.argv,
            [
                "/gnu/store/abc-system/profile/bin/guile",
                "--no-auto-compile",
                "/gnu/store/abc-system/boot"
            ]
        );
        assert_eq!(
            needs.env,
            [("GUIX_NEW_SYSTEM".to_owned(), SYSTEM.to_owned())]
        );
        let herd = "/gnu/store/abc-system/profile/bin/herd";
        assert_eq!(
            needs.power_off.requests,
            [StopAction::Run {
                argv: [herd, "power-off", "root"].map(str::to_owned).to_vec()
            }]
        );
        assert!(!tree.facts().has_usr);
    }

    #[test]
    fn mingetty_on_the_console() {
        let tree = tree().file("/gnu/store/2-shepherd-term-console.go", "mingetty console");
        assert!(ttys(&tree.init()).contains(&("console", GettyKind::Login)));
    }

    #[test]
    fn a_collected_system_is_rejected() {
        let tree = Tree::new().link("/var/guix/profiles/system", "/gnu/store/gone-system");
        let facts = tree.facts();
        assert!(facts.init.is_none());
        assert!(facts.rejected_inits[0].seen.contains("does not exist"));
    }
}
