//! OpenRC: as the service manager under sysvinit, and with its own openrc-init as PID 1.
//!
//! Both are left as Debian's packages leave them. For openrc-init that means: no
//! `agetty.*` links in `/etc/init.d`, so nothing asks anybody to log in.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const UNDER_SYSVINIT: &[&str] = &[
    "sysvinit-core",
    "openrc",
    "initscripts",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

const AS_INIT: &[&str] = &[
    "openrc-init",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

pub const RECIPES: [Recipe; 2] = [
    Recipe {
        name: "bookworm-openrc",
        about: "Debian 12, OpenRC 0.45 under sysvinit, gettys on tty1..tty6",
        base: Base::Debian {
            suite: "bookworm",
            packages: UNDER_SYSVINIT,
        },
        edit: "test -x sbin/openrc",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
    Recipe {
        name: "sid-openrc-init",
        about: "Debian unstable, openrc-init as PID 1, no getty",
        base: Base::Debian {
            suite: "sid",
            packages: AS_INIT,
        },
        edit: "test -e sbin/init",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
];
