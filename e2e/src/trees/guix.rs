//! Guix System: GNU Shepherd as PID 1 out of `/gnu/store`, around Debian 13's programs.
//!
//! The layout and the way of booting are those of a real one: no `/sbin/init`, no `/usr`, no
//! `/etc/passwd` before the first boot; `guile SYSTEM/boot` with `GUIX_NEW_SYSTEM=SYSTEM`
//! activates the system and execs the Shepherd. The programs are Debian's, with interpreter
//! and library path set to the store. Services are those of `%base-services` that lead to a
//! login: mingetty on tty1 to tty6, agetty on the kernel's serial console if it has one.

use super::recipe::{Base, Recipe, Visibility};

const PARTS: &[&str] = &[
    "shepherd",
    "guile-3.0",
    "guile-fibers",
    "bash",
    "coreutils",
    "util-linux",
    "mount",
    "login",
    "passwd",
    "mingetty",
    "libpam-modules",
    "libpam-modules-bin",
    "procps",
    "grep",
    "sed",
    "findutils",
    "patchelf",
];

/// The activation script writes the account databases, so that is where the password goes.
const UNLOCK: &str = r#"
script=$(ls gnu/store/*-activate)
chmod u+w "$script"
sed -i "s|(define %root-password .*|(define %root-password \"$HASH\")|" "$script"
grep -qF "$HASH" "$script"
chmod a-w "$script"
touch -d @1 "$script"
"#;

/// As declared for hardware: the terminals are set to UTF-8, or nothing on them starts.
const HARDWARE: &str = r#"
script=$(ls gnu/store/*-shepherd.conf)
chmod u+w "$script"
sed -i 's|(false-if-exception (call-with-output-file \(.*\)))$|(call-with-output-file \1)|' "$script"
! grep -q 'false-if-exception (call-with-output-file' "$script"
chmod a-w "$script"
touch -d @1 "$script"
"#;

pub const RECIPES: [Recipe; 3] = [
    Recipe {
        name: "trixie-guix",
        about: "Guix System's layout, Shepherd 1.0.3, mingetty on tty1..tty6",
        base: Base::Assemble {
            from: "trixie-guix-parts",
        },
        edit: include_str!("guix.sh"),
        unlock: UNLOCK,
        visibility: Visibility::Tree,
    },
    Recipe {
        name: "guix-hardware",
        about: "the same, but gettys wait for a write to /sys/module/vt",
        base: Base::Copy { of: "trixie-guix" },
        edit: HARDWARE,
        unlock: UNLOCK,
        visibility: Visibility::Tree,
    },
    Recipe {
        name: "trixie-guix-parts",
        about: "the packages of the Guix tree, unpacked",
        base: Base::Extract {
            suite: "trixie",
            packages: PARTS,
        },
        edit: "",
        unlock: "",
        visibility: Visibility::Part,
    },
];
