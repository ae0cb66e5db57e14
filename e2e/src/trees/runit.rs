//! runit as PID 1, in Debian's shape: stage 1 runs `/etc/rcS.d`, services are in `/etc/sv`.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const PACKAGES: &[&str] = &[
    "runit-init",
    "getty-run",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

pub const RECIPES: [Recipe; 1] = [Recipe {
    name: "bookworm-runit",
    about: "Debian 12, runit 2.1.2, gettys on tty1..tty6",
    base: Base::Debian {
        suite: "bookworm",
        packages: PACKAGES,
    },
    edit: "",
    unlock: UNLOCK_SHADOW,
    visibility: Visibility::Tree,
}];
