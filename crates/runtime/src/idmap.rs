//! ID ranges for machines, and layers whose files appear under those IDs without being changed on disk.
//!
//! A machine's user namespace maps its IDs 0..65536 to a range of the host that nothing else uses. Its layers are
//! detached copies of mounts (open_tree(2)) with the same mapping (mount_setattr(2), `MOUNT_ATTR_IDMAP`), so files
//! keep their real IDs on disk.

use crate::error::{At, Error, Result};
use repot_model::{IdMap, MachineName};
use repot_sys::{Cloned, MountAttr, Namespaces, clone_process, mount_setattr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// IDs of one machine: what nspawn and the allocations of systemd's UIDS-GIDS document use, so that `nobody` (65534)
/// and DynamicUser= (61184 to 65519) exist.
const SIZE: u32 = 65536;
/// First ID that may be given away: "container UIDs" of systemd's doc/UIDS-GIDS, 524288 to 1879048191.
pub(crate) const FIRST: u32 = 524_288;
const LAST: u32 = 1_879_048_191;

/// A byte of this file is locked for each range of IDs that a machine has, by the number of the range. One file for the
/// whole host: the ranges are the host's, whatever run-time directory a machine is in.
const CLAIMS: &str = "/run/repot/.ids";

/// Chooses the mapping for a machine without claiming it: what it would get if nothing else ran.
///
/// # Errors
/// This process has no range to give.
pub fn choose(name: &MachineName) -> Result<IdMap> {
    choose_within(available(), name, |_| Ok(true))
}

/// Chooses the mapping for a machine and claims it, until the returned descriptor and its copies are closed.
///
/// # Errors
/// All ranges are taken, or the claims cannot be written.
pub(crate) fn claim(name: &MachineName) -> Result<(IdMap, Option<OwnedFd>)> {
    let path = Path::new(CLAIMS);
    let mut file = None;
    let idmap = choose_within(available(), name, |range| {
        let file = match &file {
            Some(file) => file,
            None => {
                if let Some(parent) = path.parent() {
                    crate::registry::make_private_dir(parent)?;
                }
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let opened = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600));
                file.insert(opened.at("opening", path)?)
            }
        };
        Ok(repot_sys::lock_byte(file.as_fd(), range)?)
    })?;
    Ok((idmap, file))
}

/// Whether this process is in the user namespace that the kernel has made itself.
pub fn is_initial_namespace() -> bool {
    available() == u32::MAX
}

fn available() -> u32 {
    own_range(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// As [`choose`], for a caller whose own namespace holds the IDs `0..available`; `is_free` tells, and claims, a range by its
/// number. Only the initial namespace holds all IDs, and only its root may ID-map the host's file systems (mount_setattr(2),
/// `EPERM`): others pass on what they have.
fn choose_within(
    available: u32,
    name: &MachineName,
    mut is_free: impl FnMut(u32) -> Result<bool>,
) -> Result<IdMap> {
    if available < u32::MAX {
        return Ok(IdMap::Identity { size: available });
    }
    let slots = (LAST - FIRST) / SIZE;
    // FNV-1a: a machine gets the same range at every boot unless a running one has it.
    let hash = name.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    for attempt in 0..slots {
        let range = hash.wrapping_add(attempt) % slots;
        if is_free(range)? {
            return Ok(IdMap::Shifted {
                base: FIRST + range * SIZE,
                size: SIZE,
            });
        }
    }
    Err(Error::Invalid {
        what: "user namespace".into(),
        why: format!(
            "all {slots} ranges of {SIZE} IDs that there are for machines are taken by running ones; stop one"
        ),
    })
}

/// The ranges of a `/proc/self/uid_map` (user_namespaces(7)): first ID inside, number of IDs; in ascending order.
fn extents(uid_map: &str) -> Vec<(u32, u32)> {
    let mut extents: Vec<(u32, u32)> = uid_map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            Some((first, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    extents.sort_unstable();
    extents
}

/// How many IDs from 0 on exist in the namespace with this `/proc/self/uid_map`.
fn own_range(uid_map: &str) -> u32 {
    let extents = extents(uid_map);
    if extents.is_empty() {
        return u32::MAX;
    }
    extents.iter().fold(0, |end, (first, count)| {
        if *first == end {
            end.saturating_add(*count)
        } else {
            end
        }
    })
}

/// The content of `uid_map` or `gid_map` for a mapping, or `None` where there is no user namespace. `own` is the caller's own
/// file of that name: a line must not go beyond one of its ranges (user_namespaces(7), "Defining user and group ID mappings").
fn map_lines(idmap: &IdMap, own: &str) -> Option<String> {
    match idmap {
        IdMap::Shifted { base, size } => Some(format!("0 {base} {size}\n")),
        IdMap::Identity { size } => Some(
            extents(own)
                .into_iter()
                .filter(|(first, _)| first < size)
                .map(|(first, count)| format!("{first} {first} {}\n", count.min(size - first)))
                .collect(),
        ),
        IdMap::Host { .. } => None,
    }
}

/// Writes the maps of a new process; `false` where there is no user namespace.
///
/// # Errors
/// The kernel does not accept them: the caller may not map these IDs.
pub(crate) fn write_maps(pid: i32, idmap: &IdMap) -> Result<bool> {
    for map in ["uid_map", "gid_map"] {
        let own = std::fs::read_to_string(format!("/proc/self/{map}")).unwrap_or_default();
        let Some(lines) = map_lines(idmap, &own) else {
            return Ok(false);
        };
        let path = format!("/proc/{pid}/{map}");
        std::fs::write(&path, lines).at("writing", path)?;
    }
    Ok(true)
}

/// A detached copy of the mount at `path`, to be attached in the machine.
///
/// With `userns` its IDs are mapped through that namespace. Restrictions that belong to the host's mount (nosuid, noexec,
/// nodev) are lifted when `is_root_layer`: a tree below `/tmp` must keep its set-uid programs.
///
/// # Errors
/// The kernel or the file system cannot do it; see [`mount_setattr`].
pub(crate) fn detached_mount(
    path: &Path,
    userns: Option<BorrowedFd<'_>>,
    read_only: bool,
    kind: MountKind,
) -> Result<OwnedFd> {
    repot_sys::detached_mounts()?;
    let recursive = kind == MountKind::Bind;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount =
        rustix::mount::open_tree(rustix::fs::CWD, path, flags).at("copying the mount of", path)?;
    let mut attr = MountAttr {
        recursive,
        idmap: userns,
        ..MountAttr::default()
    };
    if read_only {
        attr.set |= MountAttr::RDONLY;
    }
    if kind == MountKind::Layer {
        attr.clear |= MountAttr::NOSUID | MountAttr::NOEXEC | MountAttr::NODEV;
        attr.clear |= if read_only { 0 } else { MountAttr::RDONLY };
    }
    mount_setattr(mount.as_fd(), attr)
        .map_err(|error| error.errno)
        .at(
            if userns.is_some() {
                "ID-mapping"
            } else {
                "setting the flags of"
            },
            path,
        )?;
    Ok(mount)
}

/// What a detached mount is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A layer of the root file system: this mount only, restrictions lifted.
    Layer,
    /// A directory that the user binds in: with what is mounted below it, restrictions kept.
    Bind,
}

/// A tmpfs that is mounted nowhere yet; it lives as long as the descriptor or a copy of it.
///
/// # Errors
/// `ENOSYS` before Linux 5.2.
pub(crate) fn detached_tmpfs() -> Result<OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    };
    repot_sys::detached_mounts()?;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at("opening a", "tmpfs")?;
    fsconfig_set_string(context.as_fd(), "mode", "0755").at("configuring a", "tmpfs")?;
    fsconfig_create(context.as_fd()).at("creating a", "tmpfs")?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .at("mounting a", "tmpfs")
}

/// A copy of a detached mount, mapped through `userns`.
pub(crate) fn copy_of(mount: BorrowedFd<'_>, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    repot_sys::detached_mounts()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = rustix::mount::open_tree(mount, "", flags).at("copying a", "tmpfs")?;
    if userns.is_some() {
        mount_setattr(
            copy.as_fd(),
            MountAttr {
                idmap: userns,
                ..MountAttr::default()
            },
        )?;
    }
    Ok(copy)
}

/// The user namespace of a process.
pub(crate) fn user_namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("opening", path)
}

/// Tries whether a user namespace can be made and whether each of these mounts can be ID-mapped, as the start will do it.
/// Whether overlayfs takes mapped layers is not tried but known: from Linux 5.19 on.
///
/// # Errors
/// Why a machine on these paths cannot have a user namespace, or not now.
pub fn probe(
    idmap: &IdMap,
    mounts: &[(&Path, MountKind)],
) -> std::result::Result<(), NoUserNamespace> {
    let impossible = NoUserNamespace::Impossible;
    if kernel_version() < (5, 19) {
        return Err(impossible(
            "overlayfs above ID-mapped layers needs Linux 5.19".into(),
        ));
    }
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| NoUserNamespace::NotNow(errno.to_string()))?;
    let child = clone_process(Namespaces::USER).map_err(|error| {
        let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
        refusal(&error, limit.unwrap_or_default().trim())
    })?;
    let pid = match child {
        Cloned::Child => {
            drop(theirs);
            // Ends when the parent closes its side: the namespace is needed until then.
            let _ = rustix::io::read(ours, &mut [0u8; 1]);
            repot_sys::exit_now(0)
        }
        Cloned::Parent { pid, .. } => pid,
    };
    let result = probe_in(pid, idmap, mounts);
    drop(theirs);
    drop(ours);
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
    result.map_err(impossible)
}

/// Why there is no user namespace, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUserNamespace {
    /// This kernel, its settings or a file system do not have it: a machine may be started without one.
    #[error("{0}")]
    Impossible(String),
    /// Something has run out. Who uses all of something up must not get the next machine started without its wall.
    #[error("{0}")]
    NotNow(String),
}

/// `limit` is that of user namespaces (namespaces(7), `/proc/sys/user`), with which they can also be forbidden.
fn refusal(error: &repot_sys::Error, limit: &str) -> NoUserNamespace {
    match error.errno {
        Errno::NOSPC | Errno::USERS if limit == "0" => NoUserNamespace::Impossible(
            "user namespaces are forbidden here (user.max_user_namespaces is 0)".into(),
        ),
        Errno::NOSPC | Errno::USERS => NoUserNamespace::NotNow(format!(
            "all user namespaces are in use that there may be (user.max_user_namespaces is {limit}; they nest 32 deep)"
        )),
        Errno::AGAIN | Errno::NOMEM => NoUserNamespace::NotNow(error.to_string()),
        _ => NoUserNamespace::Impossible(format!("this kernel gives no user namespace ({error})")),
    }
}

/// Major and minor version of the running kernel.
pub(crate) fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn probe_in(
    pid: i32,
    idmap: &IdMap,
    mounts: &[(&Path, MountKind)],
) -> std::result::Result<(), String> {
    let is_mapped = write_maps(pid, idmap).map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", why.unwrap_or_default())
    })?;
    if !is_mapped || matches!(idmap, IdMap::Identity { .. }) {
        return Ok(());
    }
    let userns = user_namespace_of(pid).map_err(|error| error.to_string())?;
    for (path, kind) in mounts {
        detached_mount(path, Some(userns.as_fd()), true, *kind).map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            format!(
                "the file system of {} cannot be ID-mapped ({cause})",
                path.display()
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_stable_and_distinct() {
        let name = MachineName::new("debian").unwrap();
        let mut taken = std::collections::BTreeSet::new();
        let mut next = || choose_within(u32::MAX, &name, |range| Ok(taken.insert(range))).unwrap();
        let first = next();
        let IdMap::Shifted { base, .. } = first else {
            panic!("shifted")
        };
        assert!((FIRST..=LAST - SIZE + 1).contains(&base) && base % SIZE == 0);
        assert_ne!(next(), first);
        let again = choose_within(u32::MAX, &name, |_| Ok(true)).unwrap();
        assert_eq!(again, first);
        let error = choose_within(u32::MAX, &name, |_| Ok(false)).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    }

    #[test]
    fn what_has_run_out_is_no_reason_to_go_without() {
        let error = |errno| repot_sys::Error {
            call: "clone",
            args: String::new(),
            errno,
        };
        for (errno, limit, is_possible) in [
            (Errno::NOSPC, "96365", true),
            (Errno::NOSPC, "0", false),
            (Errno::AGAIN, "96365", true),
            (Errno::INVAL, "", false),
            (Errno::PERM, "96365", false),
        ] {
            let why = refusal(&error(errno), limit);
            assert_eq!(
                matches!(why, NoUserNamespace::NotNow(_)),
                is_possible,
                "{why}"
            );
        }
    }

    #[test]
    fn a_nested_caller_gets_what_it_has() {
        let name = MachineName::new("debian").unwrap();
        assert_eq!(
            choose_within(65536, &name, |_| Ok(true)).unwrap(),
            IdMap::Identity { size: 65536 }
        );
        assert_eq!(
            choose_within(131_072, &name, |_| Ok(true)).unwrap(),
            IdMap::Identity { size: 131_072 }
        );
        assert_eq!(own_range("         0     524288      65536\n"), 65536);
        assert_eq!(own_range("         0          0 4294967295\n"), u32::MAX);
        let of_user = "0 1000 1\n1 100000 65536\n70000 9 9\n";
        assert_eq!(own_range(of_user), 65537);
        let lines = |size| map_lines(&IdMap::Identity { size }, of_user).unwrap();
        assert_eq!(lines(65537), "0 0 1\n1 1 65536\n");
        assert_eq!(lines(100), "0 0 1\n1 1 99\n");
    }
}
