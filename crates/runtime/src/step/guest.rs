//! Paths of the machine, looked up beneath its root, which is mounted at `root` in the staging directory.
//!
//! The tree is hostile: its symlinks are confined to the root by the kernel (openat2(2), `RESOLVE_IN_ROOT`), and links that the
//! kernel makes up, such as `/proc/self/fd/N`, are not followed at all. Where there is no openat2 (before Linux 5.6), [`walk`] does
//! the same.

use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

fn root() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(c"root", flags, Mode::empty())
}

/// Opens what a path of the machine leads to.
fn lookup(root: &OwnedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    match openat2(root, path) {
        // EPERM: a filter that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, path),
        other => other,
    }
}

fn openat2(root: &OwnedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// The same for kernels without openat2, one component at a time. Nothing but a plain name is ever looked up: `..` goes back to
/// a directory that was passed on the way down, and symlinks are read here and taken apart, so that no rename and no link leads
/// out of the root.
fn walk(root: &OwnedFd, path: &CStr) -> Result<OwnedFd, Errno> {
    let mut passed = vec![rustix::io::fcntl_dupfd_cloexec(root, 3)?];
    // In reverse: the next component is the last.
    let mut ahead: Vec<CString> = Vec::new();
    take_apart(path, &mut ahead)?;
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        let Some(here) = passed.last() else {
            return Err(Errno::NOENT);
        };
        if name.as_bytes() == b".." {
            // "/.." is "/".
            passed.truncate((passed.len() - 1).max(1));
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(here, &name, flags, Mode::empty())?;
        let file_type = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if file_type != FileType::Symlink {
            // What is looked up in a file that is no directory gives ENOTDIR, but ".." is not looked up.
            if file_type != FileType::Directory && !ahead.is_empty() {
                return Err(Errno::NOTDIR);
            }
            passed.push(found);
            continue;
        }
        links += 1;
        // The text of a link of procfs may have nothing to do with where the kernel would take it.
        if links > MAX_LINKS || rustix::fs::fstatfs(&found)?.f_type == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(&found, c"", Vec::new())?;
        if target.as_bytes().starts_with(b"/") {
            passed.truncate(1);
        }
        take_apart(&target, &mut ahead)?;
    }
    passed.pop().ok_or(Errno::NOENT)
}

/// path_resolution(7): "the maximum is 40".
const MAX_LINKS: usize = 40;

/// Puts a path's components in front of what is still to be looked up.
fn take_apart(path: &CStr, ahead: &mut Vec<CString>) -> Result<(), Errno> {
    let mut names = components(path)
        .map(|name| CString::new(name).map_err(|_| Errno::INVAL))
        .collect::<Result<Vec<_>, _>>()?;
    names.reverse();
    ahead.append(&mut names);
    Ok(())
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
    use std::os::unix::fs::symlink;

    /// The walk ends where the kernel's own lookup ends, with the same answer.
    #[test]
    fn the_walk_finds_what_openat2_finds() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("root");
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::create_dir_all(temp.path().join("outside")).unwrap();
        std::fs::write(top.join("file"), "x").unwrap();
        for (to, at) in [
            ("../../..", "a/up"),
            ("/a/b", "abs"),
            ("b/c", "a/rel"),
            ("/../../outside", "out"),
            ("../outside", "out2"),
            ("loop2", "loop"),
            ("loop", "loop2"),
            ("file", "tofile"),
            ("/nowhere", "dangling"),
            ("./b/../b/./c/..", "a/dots"),
        ] {
            symlink(to, top.join(at)).unwrap();
        }
        let root: OwnedFd = std::fs::File::open(&top).unwrap().into();
        for path in [
            c"/",
            c".",
            c"..",
            c"a/b",
            c"/a//b/./c",
            c"a/b/../../a",
            c"../../a",
            c"a/up",
            c"a/up/a",
            c"abs",
            c"abs/c",
            c"abs/../b",
            c"a/rel",
            c"a/rel/../..",
            c"out",
            c"out2",
            c"out/x",
            c"loop",
            c"loop/x",
            c"file",
            c"file/..",
            c"file/x",
            c"tofile",
            c"tofile/..",
            c"dangling",
            c"a/dots",
            c"a/dots/c",
            c"none",
            c"none/..",
        ] {
            let by_kernel = openat2(&root, path);
            let by_walk = walk(&root, path);
            match (&by_kernel, &by_walk) {
                (Ok(one), Ok(other)) => {
                    let id = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
                    assert_eq!(id(one).unwrap(), id(other).unwrap(), "{path:?}");
                }
                (one, other) => {
                    assert_eq!(one.as_ref().err(), other.as_ref().err(), "{path:?}");
                }
            }
        }
        let proc: OwnedFd = std::fs::File::open("/proc").unwrap().into();
        assert_eq!(walk(&proc, c"self/cwd").unwrap_err(), Errno::LOOP);
    }

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
