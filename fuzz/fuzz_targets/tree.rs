//! Fuzzes what `repot doctor` makes of a whole tree, whatever its init: the readers of init systems' own files, and the rules with their
//! edits. No panic, and each edit names a path in the tree.
//!
//! Runs best with the working directory on a tmpfs (`TMPDIR=/dev/shm`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use repot_doctor::rules::Wishes;
use repot_model::Offers;
use repot_rootfs::RootRead;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::LazyLock;

/// What the program of each init says of itself; a path is a link to it.
const INITS: &[(&str, &str)] = &[
    ("/usr/lib/systemd/systemd", "systemd 252 running in x"),
    ("/sbin/init-of-it", "SysV init version"),
    ("/bin/busybox", "BusyBox v1.35.0"),
    ("/sbin/openrc-init", "openrc-init"),
    ("/sbin/runit-init", "/etc/runit/stopit"),
    ("/usr/sbin/finit", "Finit v4.2"),
    ("/usr/bin/dinit", "Dinit version"),
    ("/sbin/upstart", "/com/ubuntu/upstart"),
    ("/bin/s6-svscan", "s6-svscan"),
    ("/sbin/procd", "procd"),
];

/// Files with an input's pieces in them.
const FILES: &[&str] = &[
    "etc/conf.d/agetty.console",
    "etc/default/locale",
    "etc/dinit.d/boot",
    "etc/dinit.d/agetty-tty1",
    "etc/finit.conf",
    "etc/finit.d/getty.conf",
    "etc/fstab",
    "etc/hostname",
    "etc/hosts",
    "etc/init.d/agetty",
    "etc/init.d/rcS",
    "etc/init/tty1.conf",
    "etc/init/tty1.override",
    "etc/inittab",
    "etc/machine-id",
    "etc/mtab",
    "etc/network/interfaces",
    "etc/nologin",
    "etc/os-release",
    "etc/pam.d/common-session",
    "etc/pam.d/login",
    "etc/passwd",
    "etc/rc.conf",
    "etc/runit/1",
    "etc/runit/runsvdir/default/getty-tty1/run",
    "etc/s6/scan/getty-tty1/run",
    "etc/securetty",
    "etc/security/limits.conf",
    "etc/selinux/config",
    "etc/shadow",
    "etc/shells",
    "etc/systemd/system/console-getty.service",
    "etc/systemd/system/default.target",
    "etc/systemd/system/multi-user.target.wants/x.service",
    "usr/lib/systemd/system/getty@.service",
    "sbin/init",
];

static TREE: LazyLock<PathBuf> = LazyLock::new(|| {
    let tree = std::env::temp_dir().join(format!("repot-fuzz-tree-{}", std::process::id()));
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (head[16], head[18], head[32], head[54]) = (2, 62, 64, 56);
    let programs = INITS.iter().copied();
    for (path, text) in programs.chain([("/bin/sh", "sh"), ("/sbin/agetty", ""), ("/bin/login", "")]) {
        let place = tree.join(&path[1..]);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, [&head, text.as_bytes(), &[0]].concat()).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for file in FILES {
        fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
    }
    tree
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let tree: &PathBuf = &TREE;
    let init = tree.join("sbin/init");
    let _ = fs::remove_file(&init);
    symlink(INITS[usize::from(*first) % INITS.len()].0, &init).unwrap();
    let mut written = Vec::new();
    // Pieces end with a byte that no text has.
    for piece in rest.split(|byte| *byte == 0xff) {
        let Some((number, content)) = piece.split_first() else {
            continue;
        };
        let place = tree.join(FILES[usize::from(*number) % FILES.len()]);
        // Not through the link: that would change the program that it leads to.
        let _ = fs::remove_file(&place);
        fs::write(&place, content).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        written.push(place);
    }
    let root = RootRead::open(tree).unwrap();
    if let Ok(facts) = repot_doctor::inspect(&root) {
        let mut bare = Offers::everything();
        bare.terminals.clear();
        bare.capabilities.clear();
        (bare.tty1_is_console, bare.serves_silent_console) = (false, false);
        bare.makes_missing_terminals = false;
        let wishes = Wishes {
            root_password_hash: Some("$6$salt$hash".into()),
            autologin: true,
        };
        for offers in [Offers::everything(), bare] {
            let found = repot_doctor::diagnose(&root, &facts, &offers, &wishes, &|_| true);
            for edit in found.findings.iter().flat_map(|finding| &finding.edits) {
                assert!(edit.path.starts_with('/'), "{}", edit.path);
            }
        }
    }
    for place in written {
        // Two pieces may be of one file.
        let _ = fs::remove_file(place);
    }
});
