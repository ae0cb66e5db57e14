//! sysvinit with Debian's own boot scripts, and trees that differ in where gettys listen.
//!
//! Debian's inittab has gettys on tty1 to tty6 and comments out the serial one.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const PACKAGES: &[&str] = &[
    "sysvinit-core",
    "initscripts",
    "sysv-rc",
    "orphan-sysvinit-scripts",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
];

const fn derived(name: &'static str, about: &'static str, edit: &'static str) -> Recipe {
    Recipe {
        name,
        about,
        base: Base::Copy {
            of: "bookworm-sysvinit",
        },
        edit,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    }
}

/// Drops the lines for tty1 to tty6, so that the one added is the only one.
const SERIAL: &str = r#"
echo "$NAME" > etc/hostname
sed -i '/^[1-6]:.*getty/d' etc/inittab
echo 'T0:23:respawn:/sbin/getty -L ttyS0 115200 vt100' >> etc/inittab
test "$(grep -c '^[^#].*getty' etc/inittab)" = 1
"#;

/// As many container recipes write it: a console line added, the others kept.
const BOTH: &str = r#"
echo "$NAME" > etc/hostname
echo 'c0:2345:respawn:/sbin/getty --noclear 38400 console' >> etc/inittab
grep -q '^1:2345:respawn:/sbin/getty .*tty1' etc/inittab
"#;

/// The inittab goes on asking for them: a package set that was cut too far.
const NO_LOGIN: &str = r#"
echo "$NAME" > etc/hostname
rm -f usr/bin/login usr/sbin/agetty usr/sbin/getty
test ! -e bin/login && test ! -e sbin/getty && test ! -e sbin/agetty
"#;

pub const RECIPES: [Recipe; 4] = [
    Recipe {
        name: "bookworm-sysvinit",
        about: "Debian 12, sysvinit 3.06, gettys on tty1..tty6",
        base: Base::Debian {
            suite: "bookworm",
            packages: PACKAGES,
        },
        edit: "",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
    derived(
        "bookworm-serial",
        "sysvinit, its only getty on ttyS0",
        SERIAL,
    ),
    derived(
        "bookworm-bothgetty",
        "sysvinit, gettys on console and on tty1..tty6",
        BOTH,
    ),
    derived(
        "bookworm-nologin",
        "sysvinit without login, agetty and getty programs",
        NO_LOGIN,
    ),
];
