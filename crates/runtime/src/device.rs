//! Devices of the host for a machine.
//!
//! A bind mount of the host's node would show an owner who is nobody in the machine's user namespace, so that not even its
//! root could open it. So the machine gets a node of its own, on a file system that is mounted nowhere else; its owner and
//! group have the numbers that they have on the host, as the machine counts.

use crate::error::{At, Error, Result};
use crate::idmap::{MountKind, detached_mount, detached_tmpfs};
use repot_model::{Device, IdMap};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::os::fd::{AsFd, OwnedFd};

/// Name of the node on its file system.
const NODE: &str = "node";

/// A detached mount of a node for the machine.
///
/// A caller that may not make device nodes (without root, or in a machine itself) hands on its own node, with its owner.
///
/// # Errors
/// It is missing, or is no device.
pub(crate) fn detached_node(device: &Device, idmap: &IdMap) -> Result<OwnedFd> {
    let path = &device.host_path;
    let node = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at("opening the device", path)?;
    let stat = rustix::fs::fstat(&node).at("looking at the device", path)?;
    if !matches!(
        FileType::from_raw_mode(stat.st_mode),
        FileType::CharacterDevice | FileType::BlockDevice
    ) {
        return Err(Error::Invalid {
            what: format!("--device {}", path.display()),
            why: "it is no device".into(),
        });
    }
    match made(device, &stat, idmap) {
        Err(Errno::PERM) if device.writable => detached_mount(path, None, false, MountKind::Bind),
        other => other.at("making a node of the device", path),
    }
}

fn made(device: &Device, stat: &Stat, idmap: &IdMap) -> std::result::Result<OwnedFd, Errno> {
    let tmpfs = detached_tmpfs().map_err(|_| Errno::PERM)?;
    let (owner, group, mode) = ownership(device.writable, stat, idmap);
    let file_type = FileType::from_raw_mode(stat.st_mode);
    rustix::fs::mknodat(&tmpfs, NODE, file_type, Mode::empty(), stat.st_rdev)?;
    let ids = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)));
    rustix::fs::chownat(&tmpfs, NODE, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::chmodat(&tmpfs, NODE, mode, AtFlags::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(tmpfs.as_fd(), NODE, flags)
}

/// Owner, group and mode of the node. One that may only be read belongs to the host's root, whom the machine is not, so that
/// it cannot change the mode, and is readable for its root's group.
fn ownership(writable: bool, stat: &Stat, idmap: &IdMap) -> (u32, u32, Mode) {
    let shifted = |id: u32| match idmap {
        IdMap::Shifted { base, size } if id < *size => base + id,
        IdMap::Shifted { .. } | IdMap::Identity { .. } | IdMap::Host { .. } => id,
    };
    if writable {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o666);
        (shifted(stat.st_uid), shifted(stat.st_gid), mode)
    } else {
        (0, shifted(0), Mode::from_raw_mode(0o440))
    }
}
