//! Edits as a directory for overlayfs, to be laid over the tree: the tree itself stays as it is.
//!
//! What is read of the tree is read through [`RootRead`]; what is written goes into a directory of ours, step by step from one
//! directory's descriptor to the next, so that links made by an edit lead nowhere. Files keep the owners that they have on
//! disk: machines map IDs per mount.
//!
//! In overlayfs the topmost directory of a name lends its attributes to what is seen (overlayfs.rst, "Directories"), so every
//! directory on the way is a copy of the tree's. What is hidden is hidden by whiteouts only, and a directory that takes the place
//! of another one has a whiteout for each name in it: unlike opaque directories they need no extended attributes, whose names
//! depend on how the overlay is mounted (`userxattr`).

use crate::attrs::{Attrs, Times};
use crate::beneath;
use crate::{Error, FileKind, Result, RootRead};
use repot_model::{Change, Edit};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The largest file that is copied because its mode or owner changes, in bytes. The largest programs of distributions that have
/// an owner other than root, or a special mode, are some ten megabytes.
pub const COPY_LIMIT_BYTES: u64 = 256 << 20;

/// Writes the layer anew at `into`, which is removed first. An edit sees what those before it have made.
///
/// # Errors
/// An edit's path is not absolute or leads through something that is no directory; what it changes is missing, or larger than
/// [`COPY_LIMIT_BYTES`]; the tree cannot be read, or the layer not be written ([`Error::Write`], also where the host refuses to
/// make whiteouts: a kernel before 5.8, without root).
pub fn write(root: &RootRead, edits: &[Edit], into: &Path) -> Result<()> {
    let failed = |doing| {
        move |source: std::io::Error| Error::Write {
            path: into.display().to_string(),
            doing,
            source,
        }
    };
    match std::fs::remove_dir_all(into) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("removing")(error));
        }
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(into).map_err(failed("creating"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(into, flags, Mode::empty())
        .map_err(|errno| failed("opening")(errno.into()))?;
    rustix::fs::fchmod(&top, Mode::from_raw_mode(0o755))
        .map_err(|errno| failed("setting the mode of")(errno.into()))?;
    let layer = Layer { root, top };
    edits.iter().try_for_each(|edit| layer.apply(edit))
}

/// The names of an edit's path.
pub(crate) fn names(path: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .collect();
    if !path.starts_with('/') || names.is_empty() || names.contains(&"..") {
        return Err(Error::BadPath {
            path: path.to_owned(),
        });
    }
    Ok(names)
}

#[derive(Debug)]
struct Layer<'a> {
    root: &'a RootRead,
    top: OwnedFd,
}

/// What the layer has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    /// Nothing: what the tree has shows.
    Nothing,
    /// A mark that the tree's is gone.
    Whiteout,
    Some(FileKind),
}

impl Layer<'_> {
    fn apply(&self, edit: &Edit) -> Result<()> {
        let names = names(&edit.path)?;
        let Some((name, above)) = names.split_last() else {
            return Ok(());
        };
        let path = format!("/{}", names.join("/"));
        if matches!(edit.change, Change::Remove) && !self.is_there(&names)? {
            return Ok(());
        }
        let dir = self.parent(above)?;
        let place = Place {
            root: self.root,
            path: &path,
            dir: &dir,
            name,
        };
        match &edit.change {
            Change::Write { text, mode } => place.write(text, *mode),
            Change::Link { to } => place.link(to),
            Change::Directory { mode } => place.directory(*mode),
            Change::Remove => place.remove(),
            Change::Mode { mode } => place.change(|attrs| attrs.mode = mode & 0o7777),
            Change::Owner { uid, gid } => place.change(|attrs| {
                attrs.uid = *uid;
                attrs.gid = *gid;
            }),
        }
    }

    /// Whether there is anything under a path, in the layer or in the tree below.
    fn is_there(&self, names: &[&str]) -> Result<bool> {
        let mut dir = beneath::dup(&self.top)?;
        let mut path = String::new();
        for (number, name) in names.iter().enumerate() {
            path = format!("{path}/{name}");
            match here(&path, &dir, name)? {
                Here::Nothing => {
                    let whole = format!("/{}", names.join("/"));
                    return Ok(self.root.symlink_metadata(&whole).is_ok());
                }
                Here::Some(FileKind::Directory) if number + 1 < names.len() => {
                    dir = open_dir(&path, &dir, *name)?;
                }
                Here::Some(_) => return Ok(number + 1 == names.len()),
                Here::Whiteout => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The layer's directory of that path: made like the tree's, with each one on the way.
    fn parent(&self, names: &[&str]) -> Result<OwnedFd> {
        let mut dir = beneath::dup(&self.top)?;
        let mut path = String::new();
        for name in names {
            path = format!("{path}/{name}");
            let place = Place {
                root: self.root,
                path: &path,
                dir: &dir,
                name,
            };
            let next = match here(&path, &dir, name)? {
                Here::Some(FileKind::Directory) => open_dir(&path, &dir, *name)?,
                Here::Some(_) => return Err(Error::NotADirectory { path }),
                Here::Whiteout => place.fresh_dir(0o755)?,
                Here::Nothing => match self.root.handle_nofollow(&path) {
                    Ok(handle) => place.copy_dir(&Attrs::of(&path, handle)?)?,
                    Err(Error::NotFound { .. }) => place.fresh_dir(0o755)?,
                    Err(error) => return Err(error),
                },
            };
            dir = next;
        }
        Ok(dir)
    }
}

/// A name in a directory of the layer.
#[derive(Debug)]
struct Place<'a> {
    root: &'a RootRead,
    /// In the tree.
    path: &'a str,
    dir: &'a OwnedFd,
    name: &'a str,
}

impl Place<'_> {
    fn here(&self) -> Result<Here> {
        here(self.path, self.dir, self.name)
    }

    /// What is seen under the name now: the layer's, or the tree's.
    fn handle(&self) -> Result<Option<OwnedFd>> {
        match self.here()? {
            Here::Whiteout => Ok(None),
            Here::Some(_) => open_path(self.path, self.dir, self.name).map(Some),
            Here::Nothing => match self.root.handle_nofollow(self.path) {
                Ok(handle) => Ok(Some(handle)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    fn attrs(&self) -> Result<Option<Attrs>> {
        self.handle()?
            .map(|handle| Attrs::of(self.path, handle).map(Attrs::without_overlay))
            .transpose()
    }

    fn write(&self, text: &str, mode: Option<u32>) -> Result<()> {
        let mut attrs = match self.attrs()? {
            Some(old) if old.kind == FileKind::File => old,
            Some(_) | None => Attrs::new(FileKind::File, 0o644),
        };
        if let Some(mode) = mode {
            attrs.mode = mode & 0o7777;
        }
        self.clear()?;
        let mut file = self.create()?;
        file.write_all(text.as_bytes())
            .map_err(|source| self.failed(source))?;
        attrs.apply(self.path, &file, Times::Now)?;
        Ok(())
    }

    fn link(&self, to: &str) -> Result<()> {
        let owner = self.attrs()?.filter(|old| old.kind == FileKind::Symlink);
        self.clear()?;
        let owner = owner.map_or((0, 0), |old| (old.uid, old.gid));
        self.symlink(to, owner)
    }

    fn symlink(&self, to: impl rustix::path::Arg, (uid, gid): (u32, u32)) -> Result<()> {
        rustix::fs::symlinkat(to, self.dir, self.name)
            .map_err(Error::write(self.path, "linking"))?;
        rustix::fs::chownat(
            self.dir,
            self.name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(Error::write(self.path, "setting the owner of"))
    }

    fn directory(&self, mode: u32) -> Result<()> {
        match self.here()? {
            Here::Some(FileKind::Directory) => return Ok(()),
            // A link to a directory of the tree is one, too.
            Here::Nothing if self.root.is_dir(self.path) => return Ok(()),
            Here::Nothing | Here::Whiteout | Here::Some(_) => {}
        }
        self.fresh_dir(mode).map(drop)
    }

    fn remove(&self) -> Result<()> {
        self.clear()?;
        match self.root.symlink_metadata(self.path) {
            Ok(_) => whiteout(self.path, self.dir, self.name),
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Mode or owner of what is seen, which is copied into the layer for that.
    fn change(&self, change: impl FnOnce(&mut Attrs)) -> Result<()> {
        let not_found = || Error::NotFound {
            path: self.path.to_owned(),
        };
        let handle = self.handle()?.ok_or_else(not_found)?;
        let mut attrs = Attrs::of(self.path, &handle)?.without_overlay();
        let is_ours = matches!(self.here()?, Here::Some(_));
        change(&mut attrs);
        if is_ours {
            attrs.apply(self.path, &handle, Times::Copied)?;
            return Ok(());
        }
        match attrs.kind {
            FileKind::Directory => self.copy_dir(&attrs).map(drop),
            FileKind::File => self.copy_file(&attrs, &handle),
            FileKind::Symlink => {
                let to = rustix::fs::readlinkat(&handle, "", Vec::new())
                    .map_err(|errno| Error::from_errno(self.path, errno))?;
                self.symlink(to, (attrs.uid, attrs.gid))
            }
            FileKind::Fifo
            | FileKind::Socket
            | FileKind::CharDevice
            | FileKind::BlockDevice
            | FileKind::Unknown => Err(Error::NotRegular {
                path: self.path.to_owned(),
                found: attrs.kind,
            }),
        }
    }

    fn copy_file(&self, attrs: &Attrs, from: &OwnedFd) -> Result<()> {
        let from = beneath::reopen(self.path, from)?;
        let size = from.metadata().map_err(|source| self.failed(source))?.len();
        if size > COPY_LIMIT_BYTES {
            return Err(Error::TooLarge {
                path: self.path.to_owned(),
                limit: COPY_LIMIT_BYTES,
            });
        }
        let mut file = self.create()?;
        // It may grow meanwhile.
        let mut from = std::io::Read::take(from, COPY_LIMIT_BYTES);
        std::io::copy(&mut from, &mut file).map_err(|source| self.failed(source))?;
        attrs.apply(self.path, &file, Times::Copied)?;
        Ok(())
    }

    /// A directory like one of the tree, whose content goes on showing.
    fn copy_dir(&self, attrs: &Attrs) -> Result<OwnedFd> {
        if attrs.kind != FileKind::Directory {
            return Err(Error::NotADirectory {
                path: self.path.to_owned(),
            });
        }
        let dir = self.make_dir()?;
        attrs
            .clone()
            .without_overlay()
            .apply(self.path, &dir, Times::Copied)?;
        Ok(dir)
    }

    /// An empty directory, whatever is seen under its name.
    fn fresh_dir(&self, mode: u32) -> Result<OwnedFd> {
        self.clear()?;
        let dir = self.make_dir()?;
        Attrs::new(FileKind::Directory, mode & 0o7777).apply(self.path, &dir, Times::Now)?;
        let below = match self.root.list_nofollow(self.path) {
            Ok(below) => below,
            Err(Error::NotFound { .. } | Error::NotADirectory { .. } | Error::Loop { .. }) => {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for name in below {
            whiteout(self.path, &dir, &name)?;
        }
        Ok(dir)
    }

    fn make_dir(&self) -> Result<OwnedFd> {
        rustix::fs::mkdirat(self.dir, self.name, Mode::RWXU)
            .map_err(Error::write(self.path, "creating"))?;
        open_dir(self.path, self.dir, self.name)
    }

    fn create(&self) -> Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.dir, self.name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(Error::write(self.path, "creating"))
    }

    /// Takes away what the layer itself has under the name.
    fn clear(&self) -> Result<()> {
        clear(self.path, self.dir, self.name)
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Write {
            path: self.path.to_owned(),
            doing: "writing",
            source,
        }
    }
}

fn here(path: &str, dir: &OwnedFd, name: &str) -> Result<Here> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let kind = FileKind::from(FileType::from_raw_mode(stat.st_mode));
            Ok(match kind == FileKind::CharDevice && stat.st_rdev == 0 {
                true => Here::Whiteout,
                false => Here::Some(kind),
            })
        }
        Err(Errno::NOENT) => Ok(Here::Nothing),
        Err(errno) => Err(Error::from_errno(path, errno)),
    }
}

/// Recursive, through directories of the layer only.
fn clear(path: &str, dir: &OwnedFd, name: impl rustix::path::Arg + Copy) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EPERM is what POSIX asks for with a directory (unlink(2)).
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(Error::write(path, "removing")(errno)),
    }
    let inner = open_dir(path, dir, name)?;
    for entry in beneath::list(path, &inner)? {
        clear(path, &inner, entry.as_c_str())?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(Error::write(path, "removing"))
}

/// A character device 0:0, which every kernel since 5.8 lets anybody make who may write there (mknod(2), "EPERM").
fn whiteout(path: &str, dir: &OwnedFd, name: impl rustix::path::Arg) -> Result<()> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(Error::write(path, "making a whiteout for"))
}

fn open_dir(path: &str, dir: &OwnedFd, name: impl rustix::path::Arg) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .map_err(|errno| Error::from_errno(path, errno))
}

fn open_path(path: &str, dir: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .map_err(|errno| Error::from_errno(path, errno))
}

#[cfg(test)]
mod tests;
