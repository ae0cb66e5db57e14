//! Trees of another architecture, and the emulator that runs them: arm64 on amd64.
//!
//! Nothing of them is run while they are built. Each is a tree of the host's architecture that Debian's maintainer scripts have set
//! up, whose programs and libraries are replaced by those of the same packages for arm64.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const BUSYBOX: &str = r#"
echo "$NAME" > etc/hostname
cp "$FROM/bin/busybox" bin/busybox
"#;

/// What the maintainer scripts have made stays, and nothing else that is for the host's processor.
const SYSTEMD: &str = r#"
echo "$NAME" > etc/hostname
tar -C "$FROM" --exclude=./etc --exclude=./var --exclude=./dev -c . | tar -x --keep-directory-symlink
rm -rf usr/lib/x86_64-linux-gnu lib64 usr/lib64 etc/ld.so.cache
test -e lib/aarch64-linux-gnu/libc.so.6
"#;

/// The package has an emulator for each architecture, some 13 MB each.
const QEMU: &str = r#"
find usr/bin -name 'qemu-*' ! -name qemu-aarch64-static -delete
test -x usr/bin/qemu-aarch64-static
"#;

const fn part(name: &'static str, about: &'static str, base: Base) -> Recipe {
    Recipe {
        name,
        about,
        base,
        edit: "",
        unlock: "",
        visibility: Visibility::Part,
    }
}

const fn tree(name: &'static str, about: &'static str, base: Base, edit: &'static str) -> Recipe {
    Recipe {
        name,
        about,
        base,
        edit,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    }
}

pub const RECIPES: [Recipe; 5] = [
    tree(
        "arm64-busybox",
        "bookworm-busybox for arm64",
        Base::Graft {
            of: "bookworm-busybox",
            from: "arm64-busybox-parts",
        },
        BUSYBOX,
    ),
    tree(
        "arm64-systemd",
        "bookworm-systemd for arm64",
        Base::Graft {
            of: "bookworm-systemd",
            from: "arm64-systemd-parts",
        },
        SYSTEMD,
    ),
    Recipe {
        name: "bookworm-qemu",
        about: "QEMU's emulator of arm64 programs",
        base: Base::Extract {
            suite: "bookworm",
            packages: &["qemu-user-static"],
        },
        edit: QEMU,
        unlock: "",
        visibility: Visibility::Programs,
    },
    part(
        "arm64-busybox-parts",
        "the busybox package for arm64, unpacked",
        Base::Foreign {
            suite: "bookworm",
            architecture: "arm64",
            packages: &["busybox-static"],
        },
    ),
    part(
        "arm64-systemd-parts",
        "the packages of bookworm-systemd for arm64, unpacked",
        Base::Foreign {
            suite: "bookworm",
            architecture: "arm64",
            packages: &[
                "?essential",
                "?priority(required)",
                "systemd-sysv",
                "dbus",
                "libpam-systemd",
                "udev",
                "login",
                "util-linux",
                "procps",
                "iproute2",
            ],
        },
    ),
];
