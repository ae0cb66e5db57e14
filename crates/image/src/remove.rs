//! Removing a tree that somebody else has filled: through descriptors, never through a symlink, never across a
//! mount, in bounded memory and depth whatever the tree looks like.

use crate::beneath;
use crate::error::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Directories nested deeper are moved up to the top and removed on their own: neither the stack nor the table of
/// descriptors grows with a tree that nests a million directories.
const MAX_DEPTH: usize = 64;

/// Removes `name` in `dir`, whatever it is. `shown` is the path of `dir` for messages.
///
/// Symlinks are removed, not followed. Directories without write permission and files with the immutable or
/// append-only flag (chattr(1)) are made removable first, as far as that is allowed. It is no error if there is
/// nothing of that name.
///
/// # Errors
/// [`Error::Mounted`] if something is mounted in the tree, in which case what is mounted is left alone, and
/// [`Error::Store`] for everything else. The tree may be removed in part then.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<()> {
    let path = shown.join(name);
    let name = name.as_bytes();
    match unlink(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory, as unlink(2) of Linux and of POSIX says it.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(&path, errno)),
    }
    let top = open_for_removal(dir, name).map_err(|errno| failed(&path, errno))?;
    let mut remover = Remover {
        top: top.as_fd(),
        moved: Vec::new(),
        counter: 0,
    };
    remover.contents(&top, 0, &path)?;
    while let Some(moved) = remover.moved.pop() {
        let path = path.join(OsStr::from_bytes(&moved));
        remover.entry(top.as_fd(), &moved, 0, &path)?;
    }
    match unlink(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(&path, errno)),
    }
}

struct Remover<'a> {
    /// The tree's own top, which takes what is nested too deep: an interrupted removal leaves nothing elsewhere.
    top: BorrowedFd<'a>,
    /// Names of those.
    moved: Vec<Vec<u8>>,
    counter: u64,
}

impl Remover<'_> {
    /// Removes one entry. Recursion ends at [`MAX_DEPTH`].
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        depth: usize,
        path: &Path,
    ) -> Result<()> {
        match unlink(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(failed(path, errno)),
        }
        if depth == MAX_DEPTH {
            return self
                .move_up(parent, name)
                .map_err(|errno| failed(path, errno));
        }
        let fd = open_for_removal(parent, name).map_err(|errno| failed(path, errno))?;
        self.contents(&fd, depth, path)?;
        drop(fd);
        match unlink(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    fn contents(&mut self, fd: &OwnedFd, depth: usize, path: &Path) -> Result<()> {
        let entries = Dir::read_from(fd).map_err(|errno| failed(path, errno))?;
        for entry in entries {
            let entry = entry.map_err(|errno| failed(path, errno))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if entry.file_type() != FileType::Directory
                && rustix::fs::unlinkat(fd, name, AtFlags::empty()).is_ok()
            {
                continue;
            }
            self.entry(
                fd.as_fd(),
                name,
                depth + 1,
                &path.join(OsStr::from_bytes(name)),
            )?;
        }
        Ok(())
    }

    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        loop {
            let target = format!(".repot-deep-{}", self.counter).into_bytes();
            self.counter += 1;
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(parent, name, self.top, &target[..], flags) {
                // The tree has an entry of that name by itself.
                Err(Errno::EXIST) => continue,
                // A file system without that flag; the name is unusual enough.
                Err(Errno::INVAL) => rustix::fs::renameat(parent, name, self.top, &target[..])?,
                // Moving a directory changes its `..`: it must be writable and mutable itself.
                Err(Errno::ACCESS | Errno::PERM) => {
                    open_for_removal(parent, name)?;
                    rustix::fs::renameat_with(parent, name, self.top, &target[..], flags)?;
                }
                result => result?,
            }
            self.moved.push(target);
            return Ok(());
        }
    }
}

/// Opens a directory for reading, after giving us the permission to if that is missing.
fn open_for_removal(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fd = match beneath::open(parent, name, flags) {
        Err(Errno::ACCESS) => {
            // Only through the name: a descriptor for it cannot be had. That it is a directory was seen just now,
            // and if it was swapped for a symlink since, this makes a file of ours more accessible to us.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            beneath::open(parent, name, flags)?
        }
        result => result?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if !mode.contains(Mode::RWXU) && !rustix::process::geteuid().is_root() {
        rustix::fs::fchmod(&fd, Mode::RWXU)?;
    }
    make_mutable(fd.as_fd());
    Ok(fd)
}

/// unlinkat(2), a second time without the immutable flag if that was in the way.
fn unlink(parent: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, flags) {
        Err(Errno::PERM) => {
            let plain = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            // Only regular files and directories have flags, and to open a device may have effects.
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let fd = beneath::open(parent, name, plain)?;
                    make_mutable(fd.as_fd());
                }
                FileType::Directory if flags.is_empty() => return Err(Errno::ISDIR),
                FileType::Directory
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {}
            }
            rustix::fs::unlinkat(parent, name, flags)
        }
        result => result,
    }
}

/// Clears the immutable and append-only flags. Where that fails, the removal says why it fails.
fn make_mutable(fd: BorrowedFd<'_>) {
    let stops = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd)
        && flags.intersects(stops)
    {
        let _ = rustix::fs::ioctl_setflags(fd, flags - stops);
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    match errno {
        // openat2 with RESOLVE_NO_XDEV, and rmdir of a mount point.
        Errno::XDEV | Errno::BUSY => Error::Mounted {
            path: path.to_owned(),
        },
        errno => Error::store("remove", path, io::Error::from(errno)),
    }
}
