//! systemd, from the oldest version that Debian still serves to sid's.
//!
//! The package list is that of a small real system: udev and D-Bus are there because every
//! installation has them, and because their units are among those that behave differently
//! in a container. bullseye keeps `/bin` and `/usr/bin` apart, the later ones merge them.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

/// With a machine manager of its own, for containers within.
const WITH_MACHINED: &[&str] = &[
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
    "systemd-container",
];

const fn systemd(name: &'static str, about: &'static str, suite: &'static str) -> Recipe {
    Recipe {
        name,
        about,
        base: Base::Debian {
            suite,
            packages: PACKAGES,
        },
        edit: "",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    }
}

pub const RECIPES: [Recipe; 5] = [
    systemd("bookworm-systemd", "Debian 12, systemd 252", "bookworm"),
    systemd(
        "bullseye-systemd",
        "Debian 11, systemd 247, unmerged /usr",
        "bullseye",
    ),
    systemd("trixie-systemd", "Debian 13, systemd 257", "trixie"),
    systemd(
        "sid-systemd",
        "Debian unstable, systemd 262: knows no cgroup v1",
        "sid",
    ),
    Recipe {
        name: "bookworm-machined",
        about: "Debian 12 with machinectl and systemd-nspawn",
        base: Base::Debian {
            suite: "bookworm",
            packages: WITH_MACHINED,
        },
        edit: "",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
];
