//! rkt, whose project ended in 2020: repot writes App Container images for it (`repot export --to aci`) and starts nothing.
//!
//! # Source
//! rkt documentation, "Stage 1": an app runs below stage 1's own systemd, never as PID 1.

use crate::{Discovery, Engine, Error, Host, Launch, Result, Usable, probe};
use repot_model::{
    CgroupVersion, EngineId, HandOver, Keyrings, OfferedTerminal, Offers, ProgramOffer, Resolver,
    Signal, StopOffer, Sys,
};

#[derive(Debug)]
pub(crate) struct Rkt;

const WHY: &str = "the project ended in 2020; repot writes images for it and starts nothing";

impl Engine for Rkt {
    fn id(&self) -> &'static str {
        "rkt"
    }

    fn discover(&self, _host: &Host) -> Discovery {
        let found = probe::by_version(&["rkt", "version"], "");
        match found.state {
            Usable::Missing { .. } => Discovery {
                version: None,
                state: Usable::Missing {
                    hint: format!("{WHY}: `repot export --to aci`"),
                },
            },
            Usable::Yes | Usable::No { .. } => Discovery {
                version: found.version,
                state: Usable::No {
                    why: WHY.to_owned(),
                    hint: "`repot export --to aci` writes one".to_owned(),
                },
            },
        }
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            console: OfferedTerminal {
                device: String::new(),
                login_name: String::new(),
            },
            terminals: Vec::new(),
            tty1_is_console: false,
            makes_missing_terminals: false,
            serves_silent_console: false,
            is_pid1: false,
            program: ProgramOffer::Any,
            container: Some("rkt".into()),
            takes_env: true,
            cgroups: vec![CgroupVersion::V1Systemd],
            // App Container specification, "os/linux/capabilities-retain-set": the default is what Docker leaves.
            capabilities: [
                "AUDIT_WRITE",
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "KILL",
                "MKNOD",
                "NET_BIND_SERVICE",
                "NET_RAW",
                "SETFCAP",
                "SETGID",
                "SETPCAP",
                "SETUID",
                "SYS_CHROOT",
            ]
            .map(str::to_owned)
            .to_vec(),
            stop: StopOffer::Signal {
                signal: Signal::TERM,
            },
            mounts: ["/proc", "/sys", "/dev", "/dev/shm"]
                .map(str::to_owned)
                .to_vec(),
            demands: Vec::new(),
            ids: 65536,
            raises_limits: false,
            sets_loginuid: false,
            keyrings: Keyrings::Given,
            sys: Sys::ReadOnly,
            interfaces: vec!["eth0".into()],
            shares_network: false,
            resolver: Resolver::Engine,
            unprivileged: false,
            emulators: host.emulators.clone(),
        }
    }

    fn hand_over(&self, _launch: &Launch, _host: &Host, _found: &Discovery) -> Result<HandOver> {
        Err(Error::CannotHost {
            engine: EngineId(self.id().to_owned()),
            why: WHY.to_owned(),
        })
    }

    fn run_command(&self, launch: &Launch, host: &Host, found: &Discovery) -> Result<HandOver> {
        self.hand_over(launch, host, found)
    }
}
