//! OpenRC: as PID 1 (`openrc-init`), and what its runlevels add where it runs on top of another init.

use super::InitSystem;
use crate::control::{collect, protocol, run, signal};
use crate::getty::{GETTYS, push, tty_name};
use crate::reading::{PROGRAM_DIRS, base_name, entries, evidence, program_in, text};
use crate::{Candidate, Result, packages};
use repot_model::{Facts, GettyKind, InitFacts, Needs, ReadySign, Signal};
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
        collect(root, &mut facts, &[]);
        Ok(Some(facts))
    }

    fn needs(&self, init: &InitFacts, _facts: &Facts) -> Needs {
        let source = "OpenRC src/openrc-init/openrc-init.c: SIGTERM shuts down, SIGINT reboots";
        Needs {
            argv: vec![init.path.clone()],
            env: Vec::new(),
            container: container_values_of_openrc(),
            cgroups: Vec::new(),
            power_off: protocol(
                [
                    run(init, "openrc-shutdown", &["-p", "now"]),
                    Some(signal(Signal::TERM)),
                ],
                60,
                source,
            ),
            reboot: protocol(
                [
                    run(init, "openrc-shutdown", &["-r", "now"]),
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

/// The values of `container=` that make OpenRC leave hardware alone, best first; for an init without OpenRC one
/// that no script knows.
pub(crate) fn container_values(init: &InitFacts) -> Vec<String> {
    if init.on_top.is_some() {
        container_values_of_openrc()
    } else {
        vec!["repot".to_owned()]
    }
}

/// OpenRC only knows the names of others. As systemd-nspawn it also leaves the cgroup tree and `/dev` alone, which
/// the runtime has set up; as lxc it would mount them again.
///
/// # Source
/// OpenRC `src/librc/librc.c` `get_systype`; `init.d/cgroups.in`, `init.d/devfs.in`: `keyword -systemd-nspawn`.
fn container_values_of_openrc() -> Vec<String> {
    vec!["systemd-nspawn".to_owned(), "lxc".to_owned()]
}

/// Services named `agetty.TTY` in the runlevels that a boot goes through.
///
/// # Source
/// OpenRC `init.d/agetty.in`: the part of the name after the dot is the port.
pub(crate) fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let config = assignments::parse(&text(root, "/etc/rc.conf")?.unwrap_or_default());
    let default = assignments::get(&config, "rc_default_runlevel").map(|found| found.value.clone());
    let default = default.unwrap_or_else(|| "default".to_owned());
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
