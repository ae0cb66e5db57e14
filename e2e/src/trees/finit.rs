//! finit as PID 1, as Debian's `finit-sysv` makes it.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const PACKAGES: &[&str] = &[
    "finit-sysv",
    "finit-plugins",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

pub const RECIPES: [Recipe; 1] = [Recipe {
    name: "bookworm-finit",
    about: "Debian 12, finit 4.2, gettys on tty1..tty6",
    base: Base::Debian {
        suite: "bookworm",
        packages: PACKAGES,
    },
    edit: "",
    unlock: UNLOCK_SHADOW,
    visibility: Visibility::Tree,
}];
