//! OpenRC: as PID 1 (`openrc-init`), and what its runlevels add where it runs on top of another init.

use super::{Hearing, InitSystem, Setup, Unwanted};
use crate::control::{collect, protocol, run, signal};
use crate::getty::{GETTYS, push, tty_name};
use crate::reading::{PROGRAM_DIRS, base_name, entries, evidence, program_in, text};
use crate::{Candidate, Result, View, edit, packages};
use repot_model::{Edit, Facts, Getty, GettyKind, InitFacts, Needs, ReadySign, Signal};
use repot_rootfs::RootRead;
use repot_rootfs::format::assignments;

#[derive(Debug)]
pub(crate) struct OpenRcInit;

impl InitSystem for OpenRcInit {
    fn id(&self) -> &'static str {
        "openrc"
    }

    fn detect(&self, root: &RootRead, candidate: &Candidate) -> Result<Option<InitFacts>> {
        // The fifo by which it is asked for things (`RC_INIT_FIFO`), newer and older name.
        let by_content =
            candidate.contains("/run/openrc/init.ctl") || candidate.contains("/run/initctl\0");
        let by_name = base_name(&candidate.resolved) == "openrc-init";
        let is_it = by_name || by_content && candidate.contains("openrc");
        if candidate.script.is_some() || !is_it {
            return Ok(None);
        }
        let mut facts = candidate.facts(self.id(), "openrc-init");
        facts.version = packages::version(root, &["openrc"])?;
        gettys(root, &mut facts)?;
        collect(root, &mut facts);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        // Signals before the fifo of openrc-shutdown, which only exists once the boot has ended.
        let source = "OpenRC src/openrc-init/openrc-init.c: SIGTERM goes through the runlevel shutdown and halts, \
                      SIGINT through reboot; all others are blocked";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: container_values_of_openrc(),
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    Some(signal(Signal::TERM)),
                    run(init, "openrc-shutdown", &["-p", "now"]),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    Some(signal(Signal::INT)),
                    run(init, "openrc-shutdown", &["-r", "now"]),
                ],
                60,
                source,
            ),
            ready: ReadySign::Prompt,
            uses_reboot_syscall: true,
        }
    }

    /// A link in `/etc/init.d` and one in the default runlevel, as OpenRC's own documentation has it.
    ///
    /// # Source
    /// OpenRC `agetty-guide.md`.
    fn listen(&self, setup: &Setup<'_>, tty: &str) -> Result<Vec<Edit>> {
        let tree = setup.tree;
        let service = format!("/etc/init.d/agetty.{tty}");
        let has_agetty = PROGRAM_DIRS
            .iter()
            .any(|dir| tree.is_executable(&format!("{dir}/agetty")));
        if !tree.is_executable("/etc/init.d/agetty") || !has_agetty {
            return Ok(Vec::new());
        }
        let why = format!("nobody listens on {tty}");
        let level = default_level(&tree.text("/etc/rc.conf")?.unwrap_or_default());
        let wanted = format!("/etc/runlevels/{level}/agetty.{tty}");
        let config = format!("/etc/conf.d/agetty.{tty}");
        let mut edits = Vec::new();
        if !tree.exists(&service) {
            edits.push(edit::link(tree, &service, "agetty", &why));
        }
        edits.push(edit::link(tree, &wanted, &service, &why));
        if !tree.exists(&config) {
            let term = crate::known_term(tree.root(), "vt220");
            let text = format!(
                "agetty_options=\"--noclear --keep-baud\"\nbaud=\"115200,38400,9600\"\nterm_type=\"{term}\"\n"
            );
            edits.push(edit::write(
                tree,
                &config,
                text,
                "the console is no virtual terminal",
            ));
        }
        Ok(edits)
    }

    fn switch_off(&self, setup: &Setup<'_>, what: &Unwanted<'_>) -> Result<Vec<Edit>> {
        match what {
            Unwanted::Terminal(getty) | Unwanted::Getty(getty) => switch_off_getty(setup, getty),
            Unwanted::Service(name) => switch_off_service(setup.tree, name),
        }
    }

    fn hear(&self, setup: &Setup<'_>, wanted: Option<Signal>) -> Result<Hearing> {
        Ok(match wanted {
            // openrc-init.c, main loop: both go through the runlevel shutdown.
            Some(Signal::PWR) => Hearing::Hears(Signal::PWR),
            Some(_) | None => super::heard(&self.needs(setup.init, setup.facts), wanted),
        })
    }
}

/// Takes the services of a terminal out of the runlevels that a boot goes through.
pub(crate) fn switch_off_getty(setup: &Setup<'_>, getty: &Getty) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for name in GETTYS {
        edits.extend(switch_off_service(
            setup.tree,
            &format!("{name}.{}", getty.tty),
        )?);
    }
    Ok(edits)
}

/// Takes a service out of the runlevels that a boot goes through, as `rc-update del` does (rc-update(8)).
pub(crate) fn switch_off_service(tree: &View<'_>, name: &str) -> Result<Vec<Edit>> {
    let default = default_level(&tree.text("/etc/rc.conf")?.unwrap_or_default());
    Ok(["sysinit", "boot", default.as_str()]
        .iter()
        .map(|level| format!("/etc/runlevels/{level}/{name}"))
        .filter(|path| tree.symlink_kind(path).is_some())
        .map(|path| edit::remove(tree, &path, "taken out of the runlevel"))
        .collect())
}

/// The runlevel that a boot ends in (rc.conf, `rc_default_runlevel`).
fn default_level(rc_conf: &str) -> String {
    let config = assignments::parse(rc_conf);
    let default = assignments::get(&config, "rc_default_runlevel").map(|found| found.value.clone());
    default.unwrap_or_else(|| "default".to_owned())
}

/// The values of `container=` that make OpenRC leave hardware alone, best first; for an init without OpenRC one
/// that no script knows.
pub(crate) fn container_values(init: &InitFacts) -> Vec<String> {
    if init.on_top.is_some() {
        container_values_of_openrc()
    } else {
        vec!["repot".to_owned()]
    }
}

/// OpenRC only knows the names of others. As systemd-nspawn and as lxc it leaves `/dev`, fstab, modules, clocks and
/// swap alone; as systemd-nspawn also the cgroup tree, which the runtime has set up.
///
/// # Source
/// OpenRC `src/librc/librc.c` `detect_container`; the `keyword` lines of `init.d/cgroups.in` (no `-lxc` in it),
/// `devfs.in`, `localmount.in`, `mount-ro.in`. A service so excluded is removed from what others need, too.
fn container_values_of_openrc() -> Vec<String> {
    vec!["systemd-nspawn".to_owned(), "lxc".to_owned()]
}

/// Services named `agetty.TTY` in the runlevels that a boot goes through.
///
/// # Source
/// OpenRC `init.d/agetty.in`: the part of the name after the dot is the port.
pub(crate) fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let default = default_level(&text(root, "/etc/rc.conf")?.unwrap_or_default());
    for level in ["sysinit", "boot", default.as_str()] {
        let dir = format!("/etc/runlevels/{level}");
        for entry in entries(root, &dir)? {
            let Some((service, port)) = entry.name.split_once('.') else {
                continue;
            };
            let Some(tty) = tty_name(port).filter(|_| GETTYS.contains(&service)) else {
                continue;
            };
            let path = format!("{dir}/{}", entry.name);
            let broken = if !root.is_file(&path) {
                Some("the link leads nowhere".to_owned())
            } else if program_in(root, PROGRAM_DIRS, service).is_none() {
                Some(format!("{service} is not in the tree"))
            } else {
                None
            };
            match broken {
                None => push(
                    facts,
                    &tty,
                    kind(root, &entry.name)?,
                    evidence(&path, None, "in this runlevel"),
                ),
                Some(why) => facts.broken_gettys.push(evidence(&path, None, &why)),
            }
        }
    }
    Ok(())
}

/// `agetty_options="--autologin root"` in the service's configuration.
fn kind(root: &RootRead, service: &str) -> Result<GettyKind> {
    let config =
        assignments::parse(&text(root, &format!("/etc/conf.d/{service}"))?.unwrap_or_default());
    let auto = assignments::get(&config, "agetty_options").is_some_and(|options| {
        let mut words = options.value.split_ascii_whitespace();
        words.any(|word| word == "-a" || word.starts_with("--autologin"))
    });
    Ok(if auto {
        GettyKind::Autologin
    } else {
        GettyKind::Login
    })
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, ttys};
    use repot_model::{GettyKind, Signal, StopAction};

    #[test]
    fn a_copied_openrc_init_with_its_gettys() {
        let tree = Tree::new()
            .elf("/sbin/init", "openrc\0/run/openrc/init.ctl")
            .elf("/sbin/openrc-shutdown", "")
            .elf("/sbin/agetty", "")
            .script("/etc/init.d/agetty", "#!/sbin/openrc-run\n")
            .link("/etc/runlevels/default/agetty.tty1", "/etc/init.d/agetty")
            .link(
                "/etc/runlevels/default/agetty.console",
                "/etc/init.d/agetty",
            )
            .link("/etc/runlevels/default/agetty.tty9", "/etc/init.d/gone")
            .file(
                "/etc/conf.d/agetty.console",
                "agetty_options=\"--noclear --autologin root\"\n",
            );
        let init = tree.init();
        assert_eq!(init.id.0, "openrc");
        assert_eq!(
            ttys(&init),
            [
                ("console", GettyKind::Autologin),
                ("tty1", GettyKind::Login)
            ]
        );
        assert_eq!(init.broken_gettys.len(), 1);
        let needs = tree.needs();
        assert_eq!(
            needs.power_off.requests[0],
            StopAction::Signal {
                signal: Signal::TERM
            }
        );
        assert_eq!(
            needs.reboot.requests[1],
            StopAction::Run {
                argv: ["/sbin/openrc-shutdown", "-r", "now"]
                    .map(str::to_owned)
                    .to_vec()
            }
        );
    }
}
