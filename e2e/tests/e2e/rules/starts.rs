//! Trees that do not get as far as a login, or that nobody gets into, with repot's own runtime.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::{PASSWORD_HASH, Tree};

use super::patient::{Fault, Patient, change};
use crate::sandbox::{LONG, utf8};
use crate::session;

/// Links to a merged /usr. Without /sbin and /bin the init starts, and finds nothing; without /lib64 it does not start.
const LOST_LINKS: &[Fault] = &[
    Fault {
        rule: "top-links",
        files: &["sbin"],
        spoil: |dir| Ok(fs::remove_file(dir.join("sbin"))?),
        symptom: "cannot execute \"/sbin/getty\"",
    },
    Fault {
        rule: "top-links",
        files: &["lib64"],
        spoil: |dir| Ok(fs::remove_file(dir.join("lib64"))?),
        symptom: "needs the loader /lib64/ld-linux-x86-64.so.2, which does not exist",
    },
];

/// What a kernel with SELinux lists, and an init that is to enforce it. Without CAP_SYS_ADMIN it cannot mount another /proc, in which it
/// would see that this host has none.
const ENFORCING: Fault = Fault {
    rule: "selinux",
    files: &["etc/selinux"],
    spoil: |dir| {
        fs::create_dir_all(dir.join("etc/selinux"))?;
        change(dir, "etc/selinux/config", |_| {
            "SELINUX=enforcing\nSELINUXTYPE=targeted\n".into()
        })
    },
    symptom: "Unable to load SELinux Policy. Machine is in enforcing mode. Halting now",
};

#[test]
fn sysvinit_that_does_not_start() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?.with_password())?;
    patient.complains(&[], LOST_LINKS)?;
    let list = patient.dir().with_extension("filesystems");
    let known = fs::read_to_string("/proc/filesystems").context("reading /proc/filesystems")?;
    fs::write(&list, format!("{known}nodev\tselinuxfs\n"))?;
    let bind = format!("{}:/proc/filesystems", utf8(&list)?);
    let options = ["--drop-capability", "SYS_ADMIN", "--bind-ro", &bind];
    patient.complains(&options, &[ENFORCING])?;
    patient.finish()
}

/// A network device of hardware, brought up by the script that busybox runs first, as Buildroot's S40network does it.
const NETWORK: Fault = Fault {
    rule: "network-devices",
    files: &["etc/network", "etc/init.d/rcS"],
    spoil: |dir| {
        fs::create_dir(dir.join("etc/network"))?;
        change(dir, "etc/network/interfaces", |_| {
            "auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n".into()
        })?;
        change(dir, "etc/init.d/rcS", |text| format!("{text}\nifup -a\n"))
    },
    symptom: "SIOCGIFFLAGS: No such device",
};

const NO_ROOT: Fault = Fault {
    rule: "root-missing",
    files: &["etc/passwd"],
    spoil: |dir| {
        change(dir, "etc/passwd", |text| {
            let others = text.lines().filter(|line| !line.starts_with("root:"));
            others.map(|line| format!("{line}\n")).collect()
        })
    },
    symptom: "Login incorrect",
};

#[test]
fn busybox_complains() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-busybox")?.with_password())?;
    patient.complains(&[], &[NETWORK])?;
    patient.suffers(&[NO_ROOT])?;
    patient.finish()
}

/// yescrypt of the kit's password.
const YESCRYPT: &str = "$y$j9T$repotrepotrepotrepot1.$jR98bbEciDuHqBCZdR5TBRQLZCblvex1/83ukpUgPXA";

fn password(dir: &Path, hash: &str) -> Result<()> {
    change(dir, "etc/shadow", |text| {
        let lines = text.lines().map(|line| match line.starts_with("root:") {
            true => format!("root:{hash}:19000:0:99999:7:::\n"),
            false => format!("{line}\n"),
        });
        lines.collect()
    })
}

/// The library as it is where it was built without a method: the mark by which it knows its hashes is none.
fn forget_yescrypt(dir: &Path) -> Result<()> {
    let path = dir.join(LIBCRYPT);
    let mut bytes = fs::read(&path).context("reading libcrypt")?;
    let marks: Vec<usize> = (0..bytes.len().saturating_sub(2))
        .filter(|at| bytes[*at..].starts_with(b"$y$"))
        .collect();
    ensure!(!marks.is_empty(), "{LIBCRYPT} knows no yescrypt");
    marks.into_iter().for_each(|at| bytes[at + 1] = b'#');
    fs::write(&path, bytes).context("writing libcrypt")
}

const LIBCRYPT: &str = "usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0";

/// Passwords that cannot be right, and another one that was asked for.
const PASSWORDS: &[Fault] = &[
    Fault {
        rule: "hash-kind",
        files: &["etc/shadow", LIBCRYPT],
        spoil: |dir| {
            password(dir, YESCRYPT)?;
            forget_yescrypt(dir)
        },
        symptom: "Login incorrect",
    },
    Fault {
        rule: "pam-nullok",
        files: &["etc/shadow", "etc/pam.d/common-auth"],
        spoil: |dir| {
            password(dir, "")?;
            change(dir, "etc/pam.d/common-auth", |text| {
                text.replace(" nullok", "")
            })
        },
        symptom: "Login incorrect",
    },
];

/// The filter answers ENOSYS to keyctl(2), which pam_keyinit does not excuse if it is to `force`.
const KEYRING: Fault = Fault {
    rule: "pam-session",
    files: &["etc/pam.d/login"],
    spoil: |dir| {
        change(dir, "etc/pam.d/login", |text| {
            format!("{text}session required pam_keyinit.so force revoke\n")
        })
    },
    symptom: "Cannot make/remove an entry for the specified session",
};

#[test]
fn nobody_gets_into_a_debian() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-sysvinit")?.with_password())?;
    let options = ["--root-password-hash", PASSWORD_HASH];
    patient.suffers_unless(&options, PASSWORDS)?;
    patient.suffers(&[KEYRING])?;
    patient.finish()
}

/// All IDs shifted to where none exists in the machine: root cannot read root's files. Shifted back, it can.
#[test]
fn a_tree_of_somebody_else() -> Result<()> {
    let patient = Patient::new(Tree::named("bookworm-busybox")?.with_password())?;
    let give = |uid: u32| -> Result<()> {
        let mut command = std::process::Command::new("chown");
        let owner = format!("{uid}:{uid}");
        command.args(["-hR", &owner]).arg(patient.dir());
        let done = process::run(&mut command, b"", LONG)?;
        ensure!(done.code == 0, "{done}");
        Ok(chown(patient.dir(), Some(uid), Some(uid))?)
    };
    give(100_000)?;
    ensure!(patient.findings()?.contains(&"owners".to_owned()));
    let (mut console, name) = patient.boot(&[])?;
    super::patient::refused(&mut console, "Login incorrect")?;
    patient.end(console, &name)?;
    give(0)?;
    let (mut console, name) = patient.boot(&[])?;
    session::login(&mut console)?;
    patient.end(console, &name)?;
    patient.finish()
}
