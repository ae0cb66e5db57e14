//! busybox init, alone or with OpenRC on top (Alpine).
//!
//! Recognised by the name of the program or by its banner, so that a copy at `/sbin/init` is found as well.
//! Without an inittab it offers a shell on the console and on tty2 to tty4.

use super::inittab::{self, Dialect};
use super::{Hearing, InitSystem, Setup, Unwanted, heard, openrc};
use crate::control::{collect, protocol, run, signal};
use crate::getty::push;
use crate::reading::{base_name, evidence};
use crate::{Candidate, Result, edit};
use repot_model::{Edit, Facts, GettyKind, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;

#[derive(Debug)]
pub(crate) struct Busybox;

impl InitSystem for Busybox {
    fn id(&self) -> &'static str {
        "busybox"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        if candidate.script.is_some()
            || !candidate.contains("BusyBox v")
                && !base_name(&candidate.resolved).starts_with("busybox")
        {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "busybox init");
        facts.version = candidate
            .texts("BusyBox v")
            .find_map(|text| text.strip_prefix("BusyBox v")?.split([' ', '(']).next())
            .filter(|version| !version.is_empty())
            .map(str::to_owned);
        // A busybox built without FEATURE_USE_INITTAB does not even have the name.
        let reads_inittab = candidate.contains("/etc/inittab");
        match inittab::read(root)?.filter(|_| reads_inittab) {
            Some(entries) => {
                inittab::busybox_gettys(root, &mut facts, &entries);
                inittab::find_openrc(root, &mut facts, &entries)?;
            }
            None => default_shells(&mut facts, reads_inittab),
        }
        if facts.on_top.is_some() {
            facts.name = "OpenRC on busybox init".to_owned();
            openrc::gettys(root, &mut facts)?;
        }
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "busybox init/halt.c: poweroff sends SIGUSR2 to PID 1, reboot SIGTERM; it then runs the \
                      shutdown lines of inittab";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: openrc::container_values(init),
            cgroups: Vec::new(),
            power_off: protocol(
                [Some(signal(Signal::USR2)), run(init, "poweroff", &[])],
                30,
                source,
            ),
            reboot: protocol(
                [Some(signal(Signal::TERM)), run(init, "reboot", &[])],
                30,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        inittab::listen(setup, Dialect::Busybox, tty)
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        match what {
            Unwanted::Getty(getty) => {
                let mut edits = inittab::switch_off_line(setup, getty)?;
                if edits.is_empty() {
                    edits = openrc::switch_off_getty(setup, getty)?;
                }
                Ok(edits)
            }
            Unwanted::Terminal(getty) => {
                if is_default(setup, getty) {
                    return Ok(vec![edit::write(
                        setup.tree,
                        "/etc/inittab",
                        without_terminals(setup),
                        "what busybox does without the file, but for the terminals",
                    )]);
                }
                let mut edits = inittab::switch_off_getty(setup, getty)?;
                edits.extend(openrc::switch_off_getty(setup, getty)?);
                Ok(edits)
            }
            Unwanted::Service(name) => match setup.init.on_top.is_some() {
                true => openrc::switch_off_service(setup.tree, name),
                false => Ok(Vec::new()),
            },
        }
    }

    /// # Source
    /// busybox init/init.c, `check_delayed_sigs`: SIGUSR1 halts, SIGUSR2 powers off, SIGINT runs the ctrlaltdel lines.
    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        match wanted {
            Some(Signal::USR1) => Ok(Hearing::Hears(Signal::USR1)),
            Some(Signal::INT) if setup.tree.is_file("/etc/inittab") => {
                match setup
                    .init
                    .control
                    .iter()
                    .find(|path| base_name(path) == "poweroff")
                {
                    Some(program) => inittab::hear(
                        setup,
                        Signal::INT,
                        &["ctrlaltdel"],
                        &format!("::ctrlaltdel:{program}"),
                    ),
                    None => Ok(Hearing::Never),
                }
            }
            Some(_) | None => Ok(heard(&self.needs(setup.init, setup.facts), wanted)),
        }
    }
}

/// busybox' defaults (init/init.c, `parse_inittab`) without tty2 to tty4, and with a login on the console where the tree has
/// the programs: what stands in a file now is no emergency any more.
fn without_terminals(setup: &Setup<'_>) -> String {
    let login = &setup.facts.login;
    let getty = login.gettys.iter().find(|path| path.ends_with("/getty"));
    let console = match (getty, &login.login) {
        (Some(getty), Some(_)) => format!("::respawn:{getty} -L 0 console vt100"),
        (None, _) | (_, None) => "::askfirst:-/bin/sh".to_owned(),
    };
    format!(
        "::sysinit:/etc/init.d/rcS\n{console}\n::ctrlaltdel:/sbin/reboot\n\
         ::shutdown:/sbin/swapoff -a\n::shutdown:/bin/umount -a -r\n::restart:/sbin/init\n"
    )
}

/// Whether a terminal is served because there is no inittab, in a busybox that would read one.
fn is_default(setup: &Setup<'_>, getty: &repot_model::Getty) -> bool {
    getty.evidence.path == "/etc/inittab"
        && getty.evidence.seen.starts_with("no such file")
        && !setup.tree.root().is_file("/etc/inittab")
}

/// What busybox does when there is no inittab.
///
/// # Source
/// busybox `init/init.c` `parse_inittab`: `askfirst` login shells on the console and on VC_2 to VC_4.
fn default_shells(facts: &mut InitFacts, reads_inittab: bool) {
    let why = if reads_inittab {
        "no such file: askfirst shells on the console and tty2 to tty4"
    } else {
        "not read by this busybox: askfirst shells on the console and tty2 to tty4"
    };
    for tty in ["console", "tty2", "tty3", "tty4"] {
        push(
            facts,
            tty,
            GettyKind::Shell,
            evidence("/etc/inittab", None, why),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, Signal, StopAction};

    const BANNER: &str = "BusyBox v1.36.1 (2024-01-01)\0/etc/inittab";

    #[test]
    fn a_copy_without_inittab_offers_shells() {
        let tree = Tree::new().elf("/sbin/init", BANNER);
        let init = tree.init();
        assert_eq!(
            (init.id.0.as_str(), init.version.as_deref()),
            ("busybox", Some("1.36.1"))
        );
        assert_eq!(ttys(&init)[0], ("console", GettyKind::Shell));
        assert_eq!(init.gettys.len(), 4);
        assert_eq!(
            tree.needs().power_off.requests,
            [StopAction::Signal {
                signal: Signal::USR2
            }]
        );
    }

    #[test]
    fn inittab_lines() {
        let tree = Tree::new()
            .elf("/bin/busybox", BANNER)
            .link("/sbin/init", "/bin/busybox")
            .link("/sbin/getty", "/bin/busybox")
            .link("/bin/sh", "/bin/busybox")
            .script("/usr/libexec/login.sh", "#!/bin/sh\n")
            .file(
                "/etc/inittab",
                "::sysinit:/etc/init.d/rcS\n::askfirst:-/bin/sh\ntty1::respawn:/sbin/getty 38400 tty1\n\
                 ttyS0::askfirst:/usr/libexec/login.sh\n::respawn:/usr/sbin/crond\n",
            );
        assert_eq!(
            ttys(&tree.init()),
            [
                ("console", GettyKind::Shell),
                ("tty1", GettyKind::Login),
                ("ttyS0", GettyKind::Shell)
            ]
        );
    }

    #[test]
    fn alpine_with_and_without_openrc() {
        let base = || {
            Tree::new()
                .elf("/bin/busybox", BANNER)
                .link("/sbin/init", "/bin/busybox")
                .link("/sbin/getty", "/bin/busybox")
                .file(
                    "/etc/inittab",
                    "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n",
                )
        };
        let init = base().init();
        assert_eq!(init.on_top, None);
        assert!(
            init.evidence
                .iter()
                .any(|seen| seen.seen.contains("/sbin/openrc is not in the tree"))
        );
        let init = base().elf("/sbin/openrc", "").init();
        assert_eq!(init.name, "OpenRC on busybox init");
    }
}
