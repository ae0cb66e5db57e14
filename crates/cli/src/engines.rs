//! Engines by the names that a user types, and what each offers here.

use crate::args::NetworkArg;
use anyhow::anyhow;
use clap::builder::PossibleValuesParser;
use repot_engines::{Discovery, ENGINES, Engine, Host, Usable, engine, native_offers};
use repot_model::{CgroupVersion, EngineId, HintExt, Offers};

/// A container system that a machine can run in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Chosen {
    /// repot's own runtime.
    Native,
    /// Another one.
    Other(&'static dyn Engine),
}

/// The names of all engines, the native one first.
pub(crate) fn names() -> Vec<&'static str> {
    std::iter::once("native")
        .chain(ENGINES.iter().map(|engine| engine.id()))
        .collect()
}

/// For options that take one of them.
pub(crate) fn parser() -> PossibleValuesParser {
    PossibleValuesParser::new(names())
}

/// For options that take one of them but the native one.
pub(crate) fn other_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(ENGINES.iter().map(|engine| engine.id()))
}

/// The engine of that name, which is not the native one.
pub(crate) fn other(name: &str) -> anyhow::Result<&'static dyn Engine> {
    match Chosen::named(name)? {
        Chosen::Other(engine) => Ok(engine),
        Chosen::Native => Err(anyhow!("repot's own runtime takes no commands by hand")),
    }
}

/// For options that take one of them, or `all`.
pub(crate) fn parser_or_all() -> PossibleValuesParser {
    PossibleValuesParser::new(std::iter::once("all").chain(names()))
}

impl Chosen {
    /// The engine of that name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        if name == "native" {
            return Ok(Self::Native);
        }
        engine(name)
            .map(Self::Other)
            .ok_or_else(|| anyhow!("there is no engine called {name:?}"))
            .hint(format!("known are: {}", names().join(", ")))
            .map_err(Into::into)
    }

    /// All engines, the native one first.
    pub(crate) fn all() -> Vec<Self> {
        std::iter::once(Self::Native)
            .chain(ENGINES.iter().map(|engine| Self::Other(*engine)))
            .collect()
    }

    /// Its name.
    pub(crate) fn id(self) -> EngineId {
        match self {
            Self::Native => EngineId::native(),
            Self::Other(engine) => EngineId(engine.id().to_owned()),
        }
    }

    /// Whether it is here and can be used.
    pub(crate) fn discover(self, host: &Host) -> Discovery {
        match self {
            Self::Native => Discovery {
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                state: Usable::Yes,
            },
            Self::Other(engine) => engine.discover(host),
        }
    }

    /// What it gives to a machine here, on the host's network or not.
    pub(crate) fn offers(self, host: &Host, found: &Discovery, network: NetworkArg) -> Offers {
        match self {
            Self::Native => native(host, network),
            Self::Other(engine) => on_network(engine.offers(host, found), network),
        }
    }
}

/// The same where a machine has that network.
pub(crate) fn on_network(offers: Offers, network: NetworkArg) -> Offers {
    match network {
        NetworkArg::None => offers,
        NetworkArg::Host => offers.on_hosts_network(),
    }
}

/// What the native runtime gives on a host. Root may make cgroups of both kinds; others where some were delegated to them.
pub(crate) fn native(host: &Host, network: NetworkArg) -> Offers {
    let mut cgroups = vec![CgroupVersion::V2, CgroupVersion::V1Systemd];
    if !host.is_root {
        cgroups.retain(|version| repot_runtime::may_make_cgroups(*version));
    }
    native_offers(host, cgroups, network == NetworkArg::Host)
}
