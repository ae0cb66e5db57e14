//! OpenRC: as the service manager under sysvinit, and with its own openrc-init as PID 1.
//!
//! Both are left as Debian's packages leave them. For openrc-init that means: no
//! `agetty.*` links in `/etc/init.d`, so nothing asks anybody to log in.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const UNDER_SYSVINIT: &[&str] = &[
    "sysvinit-core",
    "openrc",
    "initscripts",
    "orphan-sysvinit-scripts",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

/// initscripts mounts and names things, as on every Debian without systemd. udev wants a
/// systemd-sysusers, and would take all of systemd for it if nothing else offered one.
const AS_INIT: &[&str] = &[
    "openrc-init",
    "initscripts",
    "orphan-sysvinit-scripts",
    "systemd-standalone-sysusers",
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
        edit: "test -e sbin/init && test ! -e usr/lib/systemd/systemd",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
];
