//! Steps that mount `/proc`, `/sys`, `/run` and what the user asked for, and that protect what would reach the host.
//! They are built in the staging directory, by paths that no tree has a say in, and then moved to their places.

use super::devices::HeldPaths;
use super::plan::{Inputs, cstring, path_cstring, shares_sys};
use super::{Handed, Instead, Mount, Step};
use crate::error::Result;
use crate::idmap::MountKind;
use repot_model::{BootSpec, CgroupVersion, Network};
use rustix::mount::MountFlags;
use std::ffi::CStr;

/// Parts of `/proc` that act on the whole kernel. nspawn's list (systemd, src/nspawn/nspawn-mount.c).
const READ_ONLY: &[&CStr] = &[
    c"proc/acpi",
    c"proc/asound",
    c"proc/bus",
    c"proc/fs",
    c"proc/irq",
    c"proc/scsi",
    c"proc/sys",
    c"proc/sysrq-trigger",
];

/// Parts of `/proc` that tell of the whole kernel.
const MASKED: &[&CStr] = &[
    c"proc/kcore",
    c"proc/keys",
    c"proc/key-users",
    c"proc/latency_stats",
    c"proc/sched_debug",
    c"proc/timer_list",
    c"proc/timer_stats",
];

/// The empty, unreadable file that covers them. Not in `/run/host/inaccessible`: where that exists, systemd expects nodes
/// of every type in it, which a user namespace may not make, and makes its own otherwise (src/shared/mount-setup.c).
const MASK: &CStr = c"run/host/mask";

/// What a machine sees as the kernel's command line.
const CMDLINE: &CStr = c"run/host/cmdline";

const PLAIN: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

fn mount(fs_type: &CStr, at: &CStr, flags: MountFlags, options: &CStr) -> Step {
    Step::Mount(Mount {
        fs_type: fs_type.into(),
        at: at.into(),
        flags,
        options: options.into(),
        optional: false,
    })
}

fn dir(path: &CStr, mode: u32) -> Step {
    Step::Dir {
        path: path.into(),
        mode,
    }
}

/// `/proc`.
pub(super) fn proc(steps: &mut Vec<Step>) {
    steps.push(dir(c"proc", 0o555));
    steps.push(mount(c"proc", c"proc", PLAIN, c""));
}

/// `/run` with `/run/host`, as the Container Interface describes it, and `/tmp` if the tree has none.
pub(super) fn run(spec: &BootSpec, inputs: &Inputs, held: &HeldPaths, steps: &mut Vec<Step>) {
    steps.push(dir(c"run", 0o755));
    // Neither nosuid nor noexec: Guix System and NixOS keep their set-uid programs there, s6-overlay its programs.
    steps.push(mount(
        c"tmpfs",
        c"run",
        MountFlags::NODEV,
        c"mode=755,size=20%",
    ));
    steps.push(dir(c"run/host", 0o755));
    steps.push(file(MASK, 0o000, ""));
    steps.push(file(CMDLINE, 0o444, "\n"));
    steps.push(file(c"run/host/container-manager", 0o444, "repot\n"));
    steps.push(file(
        c"run/host/container-uuid",
        0o444,
        &format!("{}\n", spec.uuid),
    ));
    steps.push(file(c"run/host/os-release", 0o444, &inputs.host_os_release));
    if let Some(notify) = held.notify {
        steps.push(file(c"run/host/notify", 0o666, ""));
        steps.push(Step::BindHeld {
            held: notify,
            at: c"run/host/notify".into(),
        });
    }
}

fn file(path: &CStr, mode: u32, content: &str) -> Step {
    Step::File {
        path: path.into(),
        mode,
        content: content.as_bytes().to_vec(),
    }
}

/// Nothing in `/proc` that belongs to the whole kernel may be changed, or read where it tells secrets. The user
/// namespace forbids most of it as well; both hold on their own.
pub(super) fn protect_proc(spec: &BootSpec, steps: &mut Vec<Step>) {
    // The host's kernel command line may name secrets, and a console that inits would look for (`console=ttyS0`).
    steps.push(Step::Mask {
        at: c"proc/cmdline".into(),
        with: CMDLINE.into(),
    });
    if spec.bare_proc {
        return;
    }
    for path in READ_ONLY {
        steps.push(Step::Rebind {
            at: (*path).into(),
            flags: PLAIN | MountFlags::RDONLY,
            optional: true,
        });
    }
    if spec.network == Network::None {
        // These settings belong to the machine's own network namespace.
        steps.push(Step::Rebind {
            at: c"proc/sys/net".into(),
            flags: PLAIN,
            optional: true,
        });
    }
    for path in MASKED {
        steps.push(Step::Mask {
            at: (*path).into(),
            with: MASK.into(),
        });
    }
}

/// `/sys` read-only, which tells udev, networkd and others of systemd that this is a container (Container Interface,
/// "Execution Environment", point 2); and the cgroup tree that this init knows.
pub(super) fn sys(spec: &BootSpec, first_handed: usize, steps: &mut Vec<Step>) {
    steps.push(dir(c"sys", 0o555));
    if shares_sys(spec) {
        // Read-only with all that is mounted below it, by the parent: a part of it cannot be bound, since what it covers would
        // show (mount_namespaces(7), "locked").
        let handed = Handed(first_handed + spec.binds.len() + spec.devices.len());
        steps.push(Step::Attach {
            handed,
            instead: Some(Instead {
                path: c"/sys".into(),
                kind: MountKind::Bind,
                read_only: true,
            }),
            at: c"sys".into(),
        });
    } else {
        steps.push(mount(c"sysfs", c"sys", PLAIN | MountFlags::RDONLY, c""));
    }
    match spec.cgroup.version {
        CgroupVersion::V2 => {
            // Without a cgroup of its own it sees its starter's, which it should leave alone.
            let flags = match spec.cgroup.path {
                Some(_) => PLAIN,
                None => PLAIN | MountFlags::RDONLY,
            };
            steps.push(mount(c"cgroup2", c"sys/fs/cgroup", flags, c""));
        }
        CgroupVersion::V1Systemd => {
            steps.push(mount(c"tmpfs", c"sys/fs/cgroup", PLAIN, c"mode=755"));
            steps.push(dir(c"sys/fs/cgroup/systemd", 0o755));
            steps.push(mount(
                c"cgroup",
                c"sys/fs/cgroup/systemd",
                PLAIN,
                c"none,name=systemd,xattr",
            ));
        }
    }
}

/// Puts what was built into the machine's root, and what the user asked for. These are the only steps that look up paths of
/// the tree.
pub(super) fn place(
    spec: &BootSpec,
    inputs: &Inputs,
    first_handed: usize,
    steps: &mut Vec<Step>,
) -> Result<()> {
    for (from, to, mode) in [
        (c"dev", c"/dev", 0o755),
        (c"run", c"/run", 0o755),
        (c"sys", c"/sys", 0o555),
        (c"proc", c"/proc", 0o555),
    ] {
        steps.push(Step::Place {
            from: from.into(),
            to: to.into(),
            mode,
        });
    }
    steps.push(Step::GuestDir {
        path: c"/tmp".into(),
        mode: 0o1777,
    });
    for (number, bind) in spec.binds.iter().enumerate() {
        steps.push(Step::AttachInside {
            handed: Handed(first_handed + number),
            instead: Instead {
                path: path_cstring(&bind.host_path)?,
                kind: MountKind::Bind,
                read_only: bind.read_only,
            },
            to: cstring(bind.guest_path.as_str())?,
            is_dir: inputs.bind_is_dir.get(number).copied().unwrap_or(true),
        });
    }
    for (number, device) in spec.devices.iter().enumerate() {
        steps.push(Step::AttachInside {
            handed: Handed(first_handed + spec.binds.len() + number),
            instead: Instead {
                path: path_cstring(&device.host_path)?,
                kind: MountKind::Bind,
                read_only: false,
            },
            to: cstring(device.guest_path.as_str())?,
            is_dir: false,
        });
    }
    for (number, tmpfs) in spec.tmpfs.iter().enumerate() {
        let from = cstring(format!("tmpfs{number}"))?;
        steps.push(dir(&from, 0o755));
        steps.push(mount(
            c"tmpfs",
            &from,
            MountFlags::NOSUID | MountFlags::NODEV,
            &cstring(tmpfs.options.as_str())?,
        ));
        steps.push(Step::Place {
            from,
            to: cstring(tmpfs.guest_path.as_str())?,
            mode: 0o755,
        });
    }
    Ok(())
}
