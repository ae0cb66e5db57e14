//! LXD, through its client `lxc`.

use crate::instances::Flavour;
use crate::{Discovery, Engine, Host, Launch, Result};
use repot_model::{CommandLine, HandOver, Offers};

#[derive(Debug)]
pub(crate) struct Lxd;

pub(crate) const FLAVOUR: Flavour = Flavour {
    id: "lxd",
    client: "lxc",
    dir: "LXD_DIR",
    install: "apt-get install lxd",
    init: "lxd init --minimal",
};

impl Engine for Lxd {
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
