//! The Windows Subsystem for Linux, version 2: repot writes root file systems for it (`repot export --to wsl`); it runs on
//! another system than this one.
//!
//! # Source
//! Microsoft's documentation, "Build a custom Linux distribution for WSL" and "Advanced settings configuration in WSL";
//! microsoft/WSL, `src/linux/init/init.cpp`.

use crate::{Discovery, Engine, Error, Host, Launch, Result, Usable};
use repot_model::{
    CgroupVersion, Demand, Demanded, EngineId, HandOver, Keyrings, OfferedTerminal, Offers,
    ProgramOffer, Resolver, StopOffer, Sys,
};

#[derive(Debug)]
pub(crate) struct Wsl;

const WHY: &str = "it runs on Windows; repot writes root file systems for it";

impl Engine for Wsl {
    fn id(&self) -> &'static str {
        "wsl"
    }

    fn discover(&self, _host: &Host) -> Discovery {
        Discovery {
            version: None,
            state: Usable::No {
                why: WHY.to_owned(),
                hint: "`repot export --to wsl` writes one for `wsl --import` or `wsl --install --from-file`"
                    .to_owned(),
            },
        }
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        Offers {
            engine: EngineId(self.id().to_owned()),
            // Nobody looks at it; sessions are started beside the init, on terminals of their own.
            console: OfferedTerminal {
                device: String::new(),
                login_name: String::new(),
            },
            terminals: Vec::new(),
            tty1_is_console: false,
            makes_missing_terminals: false,
            serves_silent_console: true,
            is_pid1: true,
            program: ProgramOffer::Fixed {
                path: "/sbin/init".into(),
            },
            container: Some("wsl".into()),
            takes_env: false,
            cgroups: vec![CgroupVersion::V2],
            capabilities: Host {
                capability_bound: u64::MAX,
                ..host.clone()
            }
            .capabilities_but(&[]),
            stop: StopOffer::Asks,
            mounts: ["/proc", "/sys", "/dev", "/run"]
                .map(str::to_owned)
                .to_vec(),
            demands: vec![Demand {
                what: Demanded::SbinInit,
                message: "Catastrophic failure. Error code: Wsl/Service/E_UNEXPECTED".into(),
                source: "microsoft/WSL#8856".into(),
            }],
            ids: u32::MAX,
            raises_limits: true,
            sets_loginuid: true,
            keyrings: Keyrings::Given,
            sys: Sys::Writable,
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
}
