//! Opening paths beneath a directory descriptor, without following a symlink and without crossing a mount.
//!
//! The kernel does the checking (openat2(2), Linux 5.6). Where it cannot - an older kernel, or a seccomp
//! filter that does not know the call - the path is walked one component at a time with `O_NOFOLLOW`.
//! Everything that unpacks into or removes a tree goes through here.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the kernel has said that it knows no openat2.
static WALK: AtomicBool = AtomicBool::new(false);

/// Opens `path`, relative and without `..`, beneath `dir`. An empty path is `dir` itself.
///
/// `ELOOP` is a symlink on the way or at the end, `ENOTDIR` a file on the way, `EXDEV` a mount point.
pub(crate) fn open(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::CLOEXEC;
    if !WALK.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // Without O_NOFOLLOW, which together with O_PATH would open a symlink at the end instead of refusing it.
        // A rename or mount elsewhere can get in the way of the kernel's check: EAGAIN (openat2(2)).
        for _ in 0..64 {
            match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    WALK.store(true, Ordering::Relaxed);
                    break;
                }
                // What some container systems' seccomp filters say instead of ENOSYS; if it was a real
                // EPERM, the walk meets it too.
                Err(Errno::PERM) => break,
                result => return result,
            }
        }
    }
    open_by_walking(dir, path, flags | OFlags::NOFOLLOW)
}

/// A directory handle that is good for `*at` calls and nothing else.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    open(dir, path, OFlags::PATH | OFlags::DIRECTORY)
}

fn open_by_walking(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut components: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if components.iter().any(|part| *part == b"..") || path.starts_with(b"/") {
        return Err(Errno::XDEV);
    }
    let mount = Mount::of(dir)?;
    let last = components.pop().unwrap_or(b".");
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut held: Option<OwnedFd> = None;
    for part in components {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        held = Some(open_one(at, part, step, mount)?);
    }
    open_one(held.as_ref().map_or(dir, AsFd::as_fd), last, flags, mount)
}

/// One component. `O_PATH|O_DIRECTORY|O_NOFOLLOW` says `ENOTDIR` for a symlink where openat2 says `ELOOP`.
fn open_one(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mount: Mount) -> Result<OwnedFd> {
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                return Err(Errno::LOOP);
            }
            if Mount::of(fd.as_fd())? != mount {
                return Err(Errno::XDEV);
            }
            Ok(fd)
        }
        Err(Errno::NOTDIR) if is_symlink(dir, name) => Err(Errno::LOOP),
        Err(errno) => Err(errno),
    }
}

/// Which mount a descriptor is on. A bind mount may be on the same device, so that alone does not tell.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mount {
    device: u64,
    /// From `/proc/self/fdinfo` (Linux 3.15); `None` without `/proc`.
    id: Option<u64>,
}

impl Mount {
    fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let info = info.unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
        Ok(Self {
            device: rustix::fs::fstat(fd)?.st_dev,
            id: id.and_then(|id| id.trim().parse().ok()),
        })
    }
}

/// Whether `name` in `dir` is a symlink.
pub(crate) fn is_symlink(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Makes this process do without openat2, as if the kernel had none.
#[cfg(test)]
pub(crate) fn forget_openat2() {
    WALK.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_refuse_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(temp.path().join("outside")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        symlink("../outside", root.join("a/out")).unwrap();
        symlink("/etc", root.join("abs")).unwrap();
        symlink("b", root.join("a/in")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let dir = std::fs::File::open(&root).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        for (path, expected) in [
            ("", None),
            ("a", None),
            ("a/b", None),
            ("a//./b", None),
            ("a/out", Some(Errno::LOOP)),
            ("a/out/x", Some(Errno::LOOP)),
            ("a/in", Some(Errno::LOOP)),
            ("abs", Some(Errno::LOOP)),
            ("abs/passwd", Some(Errno::LOOP)),
            ("loop/x", Some(Errno::LOOP)),
            ("file", Some(Errno::NOTDIR)),
            ("file/x", Some(Errno::NOTDIR)),
            ("..", Some(Errno::XDEV)),
            ("a/../../outside", Some(Errno::XDEV)),
            ("/etc", Some(Errno::XDEV)),
            ("none", Some(Errno::NOENT)),
        ] {
            let kernel = open(dir.as_fd(), path.as_bytes(), flags).err();
            let walked = open_by_walking(
                dir.as_fd(),
                path.as_bytes(),
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            )
            .err();
            assert_eq!(kernel, expected, "openat2 {path}");
            assert_eq!(walked, expected, "walk {path}");
        }
    }
}
