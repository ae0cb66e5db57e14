//! Incus, which the Debian that tests run on does not have yet: unpacked, not configured, for [`crate::incus`].

use super::recipe::{Base, Recipe, Visibility};

/// Without virtual machines (package `incus`) and without what only networks, other storage pools and other images need.
const PACKAGES: &[&str] = &[
    "incus-base",
    "incus-client",
    "coreutils",
    "dash",
    "gzip",
    "mount",
    "tar",
    "xz-utils",
];

/// What no daemon reads goes. Its settings of the kernel are for no host of a test's.
const EDIT: &str = r#"
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$dir"; done
mkdir -p run root proc sys
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/perl* etc/sysctl.d usr/lib/sysctl.d
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' > etc/group
printf 'root:1000000:1000000000\n' | tee etc/subuid > etc/subgid
"#;

pub const RECIPES: [Recipe; 1] = [Recipe {
    name: "trixie-incus",
    about: "Debian 13's Incus, unpacked: programs for tests",
    base: Base::Extract {
        suite: "trixie",
        packages: PACKAGES,
    },
    edit: EDIT,
    unlock: "",
    visibility: Visibility::Programs,
}];
