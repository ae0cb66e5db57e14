//! The tree being unpacked: parent directories by descriptor, and what is still to be done to directories.
//!
//! Consecutive entries of an archive mostly share their parent, so the last few are kept open. Directories get
//! their owner, mode and time at the end: until then they are ours and writable, and their times would change
//! with every entry in them.

use super::attrs::Attrs;
use super::layer::join;
use crate::archive::MemberPath;
use crate::beneath;
use crate::error::{Refusal, quote};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Parents kept open. Few, since a linear search must be cheaper than a system call.
const CACHED: usize = 16;

/// Why a path could not be used.
#[derive(Debug)]
pub(crate) enum TreeError {
    /// The archive's fault.
    Refused(Refusal),
    /// The system's.
    Failed(&'static str, Errno),
}

impl From<Refusal> for TreeError {
    fn from(reason: Refusal) -> Self {
        Self::Refused(reason)
    }
}

/// A directory that waits for its attributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending {
    pub(crate) attrs: Attrs,
    /// Of its entry, for messages.
    pub(crate) offset: u64,
}

/// The tree and what is known of it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    cache: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    /// By path, so that in reverse order children come before their parents.
    pending: BTreeMap<MemberPath, Pending>,
}

/// What to do about directories that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Fail,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        let pending = Pending {
            attrs: Attrs::of_implicit_directory(),
            offset: 0,
        };
        Self {
            root: Rc::new(root),
            cache: Vec::with_capacity(CACHED),
            pending: BTreeMap::from([(MemberPath::from_checked(b""), pending)]),
        }
    }

    /// The directory `path`. Missing ones on the way are created if wanted, and counted in `created`.
    pub(crate) fn directory(
        &mut self,
        path: &[u8],
        missing: Missing,
        created: &mut u64,
    ) -> Result<Rc<OwnedFd>, TreeError> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(at) = self.cache.iter().rposition(|(known, _)| known == path) {
            return Ok(Rc::clone(&self.cache[at].1));
        }
        let opened = match beneath::open_dir(self.root.as_fd(), path) {
            Err(Errno::NOENT) if missing == Missing::Create => self.create_all(path, created)?,
            Err(errno) => return Err(self.diagnose(path, errno)),
            Ok(fd) => fd,
        };
        let opened = Rc::new(opened);
        if self.cache.len() == CACHED {
            self.cache.remove(0);
        }
        self.cache.push((path.to_vec(), Rc::clone(&opened)));
        Ok(opened)
    }

    /// Removes whatever is at `name` in `parent` so that something else can take its place.
    pub(crate) fn make_room(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &MemberPath,
    ) -> Result<(), TreeError> {
        let (_, name) = path.split();
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What unlink(2) says to directories, on Linux and by POSIX.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(TreeError::Failed("replace", errno)),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.cache.clear();
                self.pending.remove(path);
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Refusal::DirectoryInTheWay.into()),
            Err(errno) => Err(TreeError::Failed("replace", errno)),
        }
    }

    /// Removes what is at `path` and all that is in it, but for what `keeps` holds.
    pub(crate) fn remove(
        &mut self,
        path: &MemberPath,
        keeps: impl Fn(&MemberPath) -> bool,
    ) -> Result<(), TreeError> {
        self.clear(path, &keeps)?;
        if keeps(path) || path.is_root() {
            return Ok(());
        }
        self.unlink(path)
    }

    /// Removes what is in the directory `path`, if it is one, but for what `keeps` holds. No symlink is followed.
    pub(crate) fn clear(
        &mut self,
        path: &MemberPath,
        keeps: impl Fn(&MemberPath) -> bool,
    ) -> Result<(), TreeError> {
        let mut left = vec![path.clone()];
        let mut found: Vec<MemberPath> = Vec::new();
        while let Some(dir) = left.pop() {
            let names = match self.children(&dir) {
                // No directory, or one that an entry of the same layer has replaced.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                names => names.map_err(|errno| TreeError::Failed("look into", errno))?,
            };
            for (name, is_dir) in names {
                let child = MemberPath::from_checked(&join(dir.as_bytes(), &name));
                if is_dir {
                    left.push(child.clone());
                }
                found.push(child);
            }
        }
        // Children come after their parents in the list.
        for path in found.iter().rev().filter(|path| !keeps(path)) {
            self.unlink(path)?;
        }
        Ok(())
    }

    /// Removes a file or an empty directory; one that has something to be kept in it stays.
    fn unlink(&mut self, path: &MemberPath) -> Result<(), TreeError> {
        let (parent, _) = path.split();
        let mut none = 0;
        let parent = self.directory(parent, Missing::Fail, &mut none)?;
        match self.make_room(parent.as_fd(), path) {
            Err(TreeError::Refused(Refusal::DirectoryInTheWay)) => Ok(()),
            result => result,
        }
    }

    /// Names in a directory, and whether each is one.
    fn children(&self, path: &MemberPath) -> rustix::io::Result<Vec<(Vec<u8>, bool)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = beneath::open(self.root.as_fd(), path.as_bytes(), flags)?;
        let mut out = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                out.push((name.to_vec(), is_directory(fd.as_fd(), name)));
            }
        }
        Ok(out)
    }

    /// Creates the directory `path` in `parent`, or keeps the one that is there. Says whether it is new.
    pub(crate) fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &MemberPath,
        pending: Pending,
    ) -> Result<bool, TreeError> {
        let (_, name) = path.split();
        let made = !path.is_root() && {
            match mkdir(parent, name) {
                Ok(()) => true,
                Err(Errno::EXIST) if is_directory(parent, name) => false,
                Err(Errno::EXIST) => {
                    self.make_room(parent, path)?;
                    mkdir(parent, name).map_err(|errno| TreeError::Failed("create", errno))?;
                    true
                }
                Err(errno) => return Err(TreeError::Failed("create", errno)),
            }
        };
        self.pending.insert(path.clone(), pending);
        Ok(made)
    }

    /// The directories that wait for their attributes, children before parents.
    pub(crate) fn take_pending(&mut self) -> impl Iterator<Item = (MemberPath, Pending)> + use<> {
        std::mem::take(&mut self.pending).into_iter().rev()
    }

    fn create_all(&mut self, path: &[u8], created: &mut u64) -> Result<OwnedFd, TreeError> {
        let mut held: Option<OwnedFd> = None;
        let mut end = 0;
        for part in path.split(|byte| *byte == b'/') {
            end += part.len();
            let here = &path[..end];
            end += 1;
            let at = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            match mkdir(at, part) {
                Ok(()) => {
                    *created += 1;
                    let pending = Pending {
                        attrs: Attrs::of_implicit_directory(),
                        offset: 0,
                    };
                    self.pending.insert(MemberPath::from_checked(here), pending);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(TreeError::Failed("create the directory of", errno)),
            }
            let next = beneath::open_dir(at, part);
            held = Some(next.map_err(|errno| self.diagnose(here, errno))?);
        }
        held.ok_or(TreeError::Failed("open the directory of", Errno::NOENT))
    }

    /// Finds the component at which a path stopped being one of directories.
    fn diagnose(&self, path: &[u8], errno: Errno) -> TreeError {
        let mut end = 0;
        for part in path.split(|byte| *byte == b'/') {
            end += part.len();
            let here = &path[..end];
            end += 1;
            match beneath::open_dir(self.root.as_fd(), here) {
                Ok(_) => {}
                Err(Errno::LOOP) => return Refusal::ThroughSymlink(quote(here)).into(),
                Err(Errno::NOTDIR) => return Refusal::NotDirectory(quote(here)).into(),
                Err(errno) => return TreeError::Failed("open the directory of", errno),
            }
        }
        TreeError::Failed("open the directory of", errno)
    }
}

fn mkdir(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)
}

fn is_directory(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
