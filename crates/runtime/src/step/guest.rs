//! Paths of the machine, looked up beneath its root, which is mounted at `root` in the staging directory.
//!
//! The tree is hostile: its symlinks are confined to the root by the kernel (openat2(2), `RESOLVE_IN_ROOT`), and links that the
//! kernel makes up, such as `/proc/self/fd/N`, are not followed at all. Kernels without openat2 (before 5.6) follow no symlink.

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

fn root() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(c"root", flags, Mode::empty())
}

/// Opens what a path of the machine leads to.
fn lookup(root: &OwnedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // EPERM: a filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, path),
        other => other,
    }
}

/// The same, component by component, without symlinks.
fn walk(root: &OwnedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
    for component in components(path) {
        if component == b".." {
            return Err(Errno::XDEV);
        }
        let name = CString::new(component).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, &name, flags, Mode::empty())?;
    }
    Ok(at)
}

fn components(path: &CStr) -> impl Iterator<Item = &[u8]> {
    path.to_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// The directory at a path of the machine. What is missing of the path is created, the last of it with `mode`.
pub(super) fn directory(path: &CStr, mode: Mode) -> Result<OwnedFd, Errno> {
    directory_in(&root()?, path, mode)
}

fn directory_in(root: &OwnedFd, path: &CStr, mode: Mode) -> Result<OwnedFd, Errno> {
    let found = match lookup(root, path) {
        Err(Errno::NOENT) => {
            let (parent, name) = split(path)?;
            let parent = directory_in(root, &parent, Mode::from_raw_mode(0o755))?;
            rustix::fs::mkdirat(&parent, &name, mode)?;
            lookup(root, path)?
        }
        other => other?,
    };
    let file_type = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    if file_type == FileType::Directory {
        Ok(found)
    } else {
        Err(Errno::NOTDIR)
    }
}

/// The file at a path of the machine, created empty if it is missing.
pub(super) fn file(path: &CStr) -> Result<OwnedFd, Errno> {
    let root = root()?;
    match lookup(&root, path) {
        Err(Errno::NOENT) => {
            let (parent, name) = split(path)?;
            let parent = directory_in(&root, &parent, Mode::from_raw_mode(0o755))?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(rustix::fs::openat(
                &parent,
                &name,
                flags,
                Mode::from_raw_mode(0o644),
            )?);
            lookup(&root, path)
        }
        other => other,
    }
}

/// A path's parent and last component. The root itself has none.
fn split(path: &CStr) -> Result<(CString, CString), Errno> {
    let parts: Vec<&[u8]> = components(path).collect();
    let (name, parents) = parts.split_last().ok_or(Errno::NOENT)?;
    if *name == b".." {
        return Err(Errno::NOENT);
    }
    let parent = [b"/".as_slice(), &parents.join(&b'/')].concat();
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::INVAL);
    Ok((text(parent)?, text(name.to_vec())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split() {
        let parts = |path: &CStr| {
            split(path).map(|(parent, name)| [parent, name].map(|part| part.into_string().unwrap()))
        };
        assert_eq!(parts(c"/a/b/c").unwrap(), ["/a/b", "c"]);
        assert_eq!(parts(c"//a/./").unwrap(), ["/", "a"]);
        assert_eq!(parts(c"/").unwrap_err(), Errno::NOENT);
        assert_eq!(parts(c"/a/..").unwrap_err(), Errno::NOENT);
    }
}
