//! Incus, through its client `incus`.

use crate::instances::Flavour;
use crate::{Discovery, Engine, Host, Launch, Result};
use repot_model::{CommandLine, HandOver, Offers};

#[derive(Debug)]
pub(crate) struct Incus;

pub(crate) const FLAVOUR: Flavour = Flavour {
    id: "incus",
    client: "incus",
    dir: "INCUS_DIR",
    install: "apt-get install incus",
    init: "incus admin init --minimal",
};

impl Engine for Incus {
    fn id(&self) -> &'static str {
        FLAVOUR.id
    }

    fn discover(&self, host: &Host) -> Discovery {
        FLAVOUR.discover(host)
    }

    fn offers(&self, host: &Host, _found: &Discovery) -> Offers {
        FLAVOUR.offers(host)
    }

    fn hand_over(&self, launch: &Launch, host: &Host, _found: &Discovery) -> Result<HandOver> {
        FLAVOUR.hand_over(launch, host)
    }

    fn listing(&self, host: &Host) -> Option<CommandLine> {
        Some(FLAVOUR.listing(host))
    }
}
