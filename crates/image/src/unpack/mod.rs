//! Unpacking: the members of an archive become files beneath one directory descriptor, and nowhere else.
//!
//! No path is joined and no symlink followed. An entry never writes into a file that exists: what is in its way
//! is unlinked first, so neither a symlink nor another name of a file outside can be written through.

mod attrs;
mod layer;
mod layout;
mod report;
mod tree;

pub(crate) use layer::LayerUnpacker;
pub(crate) use layout::{Layout, find_rootfs, is_rootfs};
pub use report::UnpackReport;

use crate::archive::{Extent, Kind, Member, MemberPath, Members};
use crate::error::{Error, Refusal, Result, is_full, quote};
use crate::limits::Limits;
use crate::progress::{Phase, Progress, Snapshot};
use crate::stream::Stream;
use attrs::{Attrs, Creator, Failure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use tree::{Missing, Pending, Tree, TreeError};

/// What an unpacking needs besides the archive.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) progress: &'a dyn Progress,
    /// Bytes of the source read so far, counted by the decoding thread.
    pub(crate) read_bytes: &'a AtomicU64,
    pub(crate) total_bytes: Option<u64>,
    /// Where the tree is, for messages.
    pub(crate) place: &'a Path,
}

impl Context<'_> {
    pub(crate) fn snapshot(&self, phase: Phase, report: &UnpackReport) -> Snapshot {
        Snapshot {
            phase,
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes,
            entries: report.entries(),
            unpacked_bytes: report.file_bytes,
        }
    }
}

/// Unpacks everything that `stream` has into `root`, an empty directory. Returns the stream at its end.
pub(crate) fn unpack<S: Stream>(
    stream: S,
    root: OwnedFd,
    context: Context<'_>,
) -> Result<(UnpackReport, S)> {
    let mut unpacker = Unpacker::new(root, context);
    let mut members = Members::new(stream, context.limits);
    while let Some(member) = members.next()? {
        unpacker.entry(member, &mut members)?;
        unpacker.show();
    }
    unpacker.finish_directories()?;
    let (end, stream) = members.finish()?;
    let mut report = unpacker.report;
    report.unmarked_end = end.unmarked;
    report.garbage_bytes = end.garbage_bytes;
    Ok((report, stream))
}

struct Unpacker<'a> {
    tree: Tree,
    creator: Creator,
    report: UnpackReport,
    /// Devices that could not be made, so that hard links to them are left out too.
    skipped: HashSet<MemberPath>,
    /// If it is one of several layers.
    upper: Option<layer::Upper>,
    /// Entries and bytes of the last progress report.
    last_shown: (u64, u64),
    context: Context<'a>,
}

impl<'a> Unpacker<'a> {
    fn new(root: OwnedFd, context: Context<'a>) -> Self {
        Self {
            tree: Tree::new(root),
            creator: Creator::new(),
            report: UnpackReport::default(),
            skipped: HashSet::new(),
            upper: None,
            last_shown: (0, 0),
            context,
        }
    }
}

impl Unpacker<'_> {
    fn entry<S: Stream>(&mut self, mut member: Member, members: &mut Members<'_, S>) -> Result<()> {
        self.check(&member)?;
        if member.path.is_root() && member.kind != Kind::Directory {
            return Err(member.refused(Refusal::NoName));
        }
        let (parent, _) = member.path.split();
        let parent = self
            .tree
            .directory(parent, Missing::Create, &mut self.report.directories)
            .map_err(|error| self.error(&member, error))?;
        let parent = parent.as_fd();
        match member.kind {
            Kind::Directory => {
                let pending = Pending {
                    offset: member.offset,
                    attrs: Attrs::take_from(&mut member),
                };
                let made = self.tree.make_directory(parent, &member.path, pending);
                if made.map_err(|error| self.error(&member, error))? {
                    self.report.directories += 1;
                }
                Ok(())
            }
            Kind::File => self.file(parent, &mut member, members),
            Kind::Symlink => self.symlink(parent, &mut member),
            Kind::HardLink => self.hard_link(parent, &member),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.node(parent, &mut member),
        }
    }

    fn check(&self, member: &Member) -> Result<()> {
        let limits = self.context.limits;
        let limit = |what, limit| Error::Limit {
            what,
            limit,
            offset: member.offset,
        };
        if self.report.entries() >= limits.max_entries {
            return Err(limit("entries", limits.max_entries));
        }
        let too_large = |(_, value): &(Vec<u8>, Vec<u8>)| value.len() > limits.max_xattr_bytes;
        if member.xattrs.iter().any(too_large) {
            let max = u64::try_from(limits.max_xattr_bytes).unwrap_or(u64::MAX);
            return Err(limit("bytes in an extended attribute", max));
        }
        Ok(())
    }

    fn file<S: Stream>(
        &mut self,
        parent: BorrowedFd<'_>,
        member: &mut Member,
        members: &mut Members<'_, S>,
    ) -> Result<()> {
        let attrs = Attrs::take_from(member);
        let mode = self.creator.creation_mode(&attrs);
        // O_EXCL: never an existing file, never through a symlink.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = self.create(parent, member, |parent, name| {
            rustix::fs::openat(parent, name, flags, mode)
        })?;
        if member.unknown_type {
            self.report.unknown_types += 1;
        }
        let context = self.context;
        let failed = |(call, errno)| create_error(&context, member, call, errno);
        match &member.sparse {
            None => {
                while write_some(members, |chunk| rustix::io::write(&fd, chunk), failed)? > 0 {}
            }
            Some(map) => {
                // The file ends with a hole if the last piece does not reach its size.
                rustix::fs::ftruncate(&fd, map.real_size)
                    .map_err(|errno| failed(("set the size of", errno)))?;
                for Extent { offset, length } in map.extents.iter().copied() {
                    let (mut at, mut left) = (offset, length);
                    while left > 0 {
                        let limit = usize::try_from(left).unwrap_or(usize::MAX);
                        let write = |chunk: &[u8]| {
                            rustix::io::pwrite(&fd, &chunk[..chunk.len().min(limit)], at)
                        };
                        let count = write_some(members, write, failed)?;
                        at += count;
                        left -= count;
                    }
                }
            }
        }
        self.report.files += 1;
        self.report.file_bytes += member.size;
        let result = self
            .creator
            .finish_file(fd.as_fd(), &attrs, &mut self.report);
        result.map_err(failed)
    }

    fn symlink(&mut self, parent: BorrowedFd<'_>, member: &mut Member) -> Result<()> {
        const MAX_TARGET: usize = 4095;
        if member.link.is_empty() || member.link.len() > MAX_TARGET || member.link.contains(&0) {
            return Err(member.refused(Refusal::BadSymlink));
        }
        // Any target will do: what it means is up to whoever resolves it, inside the tree.
        self.create(parent, member, |parent, name| {
            rustix::fs::symlinkat(&member.link[..], parent, name)
        })?;
        self.report.symlinks += 1;
        self.finish_at(parent, member, false)
    }

    /// A fifo or device.
    fn node(&mut self, parent: BorrowedFd<'_>, member: &mut Member) -> Result<()> {
        let file_type = match member.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Fifo | Kind::File | Kind::HardLink | Kind::Symlink | Kind::Directory => {
                FileType::Fifo
            }
        };
        let (major, minor) = member.device;
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |parent: BorrowedFd<'_>, name: &[u8]| match rustix::fs::mknodat(
            parent, name, file_type, mode, device,
        ) {
            Err(Errno::PERM) if member.kind != Kind::Fifo => Ok(false),
            result => result.map(|()| true),
        };
        if !self.create(parent, member, make)? {
            self.report.skipped_devices += 1;
            self.skipped.insert(member.path.clone());
            return Ok(());
        }
        match member.kind {
            Kind::Fifo => self.report.fifos += 1,
            Kind::CharDevice
            | Kind::BlockDevice
            | Kind::File
            | Kind::HardLink
            | Kind::Symlink
            | Kind::Directory => self.report.devices += 1,
        }
        self.finish_at(parent, member, true)
    }

    /// A further name for a file that came before. A symlink may get one too (optimised Nix stores are full of
    /// them): the link itself is linked, not what it points to, and nothing ever writes through it.
    fn hard_link(&mut self, parent: BorrowedFd<'_>, member: &Member) -> Result<()> {
        let refuse_target = |reason| {
            member.refused(Refusal::LinkTarget {
                target: quote(&member.link),
                reason: Box::new(reason),
            })
        };
        let target = MemberPath::parse(&member.link).map_err(refuse_target)?;
        let missing = || member.refused(Refusal::LinkMissing(quote(&member.link)));
        if self.skipped.contains(&target) {
            self.report.skipped_devices += 1;
            self.skipped.insert(member.path.clone());
            return Ok(());
        }
        let (target_parent, target_name) = target.split();
        let mut none = 0;
        let found = self.tree.directory(target_parent, Missing::Fail, &mut none);
        let target_parent: Rc<OwnedFd> = match found {
            Ok(fd) => fd,
            Err(TreeError::Refused(reason)) => return Err(refuse_target(reason)),
            Err(TreeError::Failed(_, Errno::NOENT)) => return Err(missing()),
            Err(error) => return Err(self.error(member, error)),
        };
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let stat = match rustix::fs::statat(&target_parent, target_name, nofollow) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(create_error(&self.context, member, "link", errno)),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(member.refused(Refusal::LinkToDirectory(quote(&member.link))));
        }
        // To make room for a link to the same file would remove the file.
        let (_, name) = member.path.split();
        let there = rustix::fs::statat(parent, name, nofollow);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        self.create(parent, member, |parent, name| {
            rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())
        })?;
        self.report.hard_links += 1;
        Ok(())
    }

    /// Creates an entry; what is there already makes room, as the later entry wins.
    fn create<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        member: &Member,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let (_, name) = member.path.split();
        let mut result = make(parent, name);
        if let Err(Errno::EXIST) = result {
            self.hide_below(member)?;
            self.tree
                .make_room(parent, &member.path)
                .map_err(|error| self.error(member, error))?;
            result = make(parent, name);
        }
        result.map_err(|errno| create_error(&self.context, member, "create", errno))
    }

    fn finish_at(
        &mut self,
        parent: BorrowedFd<'_>,
        member: &mut Member,
        has_mode: bool,
    ) -> Result<()> {
        let attrs = Attrs::take_from(member);
        let (_, name) = member.path.split();
        self.creator
            .finish_at(parent, name, &attrs, has_mode, &mut self.report)
            .map_err(|(call, errno)| create_error(&self.context, member, call, errno))
    }

    /// Gives directories their owner, mode and time, children first: afterwards a parent may be unwritable.
    fn finish_directories(&mut self) -> Result<()> {
        for (path, pending) in self.tree.take_pending() {
            let result = self.finish_directory(&path, &pending);
            result.map_err(|(call, errno)| {
                make_error(&self.context, path.as_bytes(), pending.offset, call, errno)
            })?;
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        path: &MemberPath,
        pending: &Pending,
    ) -> std::result::Result<(), Failure> {
        let (parent, name) = path.split();
        let open = |errno| ("open", errno);
        let mut none = 0;
        let parent = match self.tree.directory(parent, Missing::Fail, &mut none) {
            Ok(parent) => parent,
            Err(TreeError::Failed(call, errno)) => return Err((call, errno)),
            // Nothing but this process writes here; if something did, stop.
            Err(TreeError::Refused(_)) => return Err(open(Errno::LOOP)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(open)?;
        self.creator
            .finish_fd(fd.as_fd(), &pending.attrs, &mut self.report)
    }

    fn error(&self, member: &Member, error: TreeError) -> Error {
        match error {
            TreeError::Refused(reason) => member.refused(reason),
            TreeError::Failed(call, errno) => create_error(&self.context, member, call, errno),
        }
    }

    /// Tells how far it is, now and then.
    fn show(&mut self) {
        const EVERY_BYTES: u64 = 1 << 20;
        const EVERY_ENTRIES: u64 = 256;
        let (entries, bytes) = (self.report.entries(), self.report.file_bytes);
        let (shown_entries, shown_bytes) = self.last_shown;
        if bytes - shown_bytes >= EVERY_BYTES || entries - shown_entries >= EVERY_ENTRIES {
            self.last_shown = (entries, bytes);
            let now = self.context.snapshot(Phase::Unpacking, &self.report);
            self.context.progress.update(&now);
        }
    }
}

/// Hands the next piece of data to `write`, and says how much of it was taken: 0 at the end.
fn write_some<S: Stream>(
    members: &mut Members<'_, S>,
    write: impl Fn(&[u8]) -> rustix::io::Result<usize>,
    failed: impl Fn(Failure) -> Error,
) -> Result<u64> {
    let chunk = members.data()?;
    if chunk.is_empty() {
        return Ok(0);
    }
    let count = loop {
        match write(chunk) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(failed(("write", Errno::NOSPC))),
            result => break result.map_err(|errno| failed(("write", errno)))?,
        }
    };
    members.consume(count);
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

fn create_error(context: &Context<'_>, member: &Member, call: &'static str, errno: Errno) -> Error {
    make_error(context, &member.name, member.offset, call, errno)
}

fn make_error(
    context: &Context<'_>,
    name: &[u8],
    offset: u64,
    call: &'static str,
    errno: Errno,
) -> Error {
    let source = io::Error::from(errno);
    if is_full(&source) {
        return Error::NoSpace {
            path: context.place.to_owned(),
        };
    }
    Error::Create {
        call,
        entry: quote(name),
        offset,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::{remove_tree, unpack_tar};
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    /// Unpacks an archive of empty files, directories (`/` at the end) and symlinks (`a -> b`).
    fn unpack_names(into: &Path, names: &[&str]) -> Result<UnpackReport> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_mtime(0);
            let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
            header.set_uid(u64::from(uid.as_raw()));
            header.set_gid(u64::from(gid.as_raw()));
            header.set_size(0);
            if let Some((name, target)) = name.split_once(" -> ") {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, name, target).unwrap();
            } else {
                if name.ends_with('/') {
                    header.set_entry_type(tar::EntryType::Directory);
                }
                builder.append_data(&mut header, name, io::empty()).unwrap();
            }
        }
        let archive = builder.into_inner().unwrap();
        let root = OwnedFd::from(File::open(into).unwrap());
        unpack_tar(&archive[..], root, into, &Limits::default(), &Silent)
    }

    #[test]
    fn everything_works_without_openat2() {
        crate::beneath::forget_openat2();
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        let tree = temp.path().join("tree");
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir(&tree).unwrap();
        let report = unpack_names(&tree, &["a/", "a/b/c", "d/e", "a/l -> ../d", "x/y/"]).unwrap();
        assert_eq!((report.files, report.directories), (2, 5));
        assert!(tree.join("a/l/e").exists());
        for (names, text) in [
            (["l -> ../outside", "l/x"], "through the symlink \"l\""),
            (["m/n -> /", "m/n/tmp/x"], "through the symlink \"m/n\""),
            (["f", "f/x"], "\"f\" is not a directory"),
        ] {
            let error = unpack_names(&tree, &names).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        std::fs::write(outside.join("canary"), "").unwrap();
        symlink(&outside, tree.join("a/b/out")).unwrap();
        let dir = File::open(temp.path()).unwrap();
        if rustix::process::geteuid().is_root() {
            rustix::mount::mount_bind(&outside, tree.join("x/y")).unwrap();
            let error = remove_tree(dir.as_fd(), OsStr::new("tree"), temp.path()).unwrap_err();
            let flags = rustix::mount::UnmountFlags::DETACH;
            rustix::mount::unmount(tree.join("x/y"), flags).unwrap();
            assert!(matches!(error, Error::Mounted { .. }), "{error}");
        }
        remove_tree(dir.as_fd(), OsStr::new("tree"), temp.path()).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("canary").exists());
    }
}
