//! The read-only handle on an untrusted tree.
//!
//! Every path is resolved beneath the root by the kernel (`openat2` with `RESOLVE_IN_ROOT`) or, where that is
//! missing, by the emulation in the crate `pathrs`; no path is ever joined to the root's own. What is found is
//! opened with `O_PATH` first, looked at, and only opened for reading if it is a regular file: a FIFO in the tree
//! cannot block us, a device node cannot act, and no read goes on beyond the caller's limit.

use crate::Error;
use crate::beneath::{self, Follow};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// The largest text file that [`RootRead::read_text`] takes, in bytes. Configuration files are far below: the
/// largest that Debian ships in `/etc` is 130 KB (`services`, `mime.types` and relatives).
pub const TEXT_LIMIT_BYTES: u64 = 1 << 20;

/// The most entries that [`RootRead::read_dir`] returns. `/usr/bin` of a large desktop has some 5,000.
pub const DIR_LIMIT: usize = 65_536;

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants are the file types of inode(7)")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Unknown,
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Unknown => "file of unknown kind",
        })
    }
}

/// What stat(2) tells of a file in the tree. IDs are those on the disk of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with set-id and sticky bits: `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size_bytes: u64,
}

impl Metadata {
    /// Whether it is a regular file that somebody may execute.
    pub fn is_executable(&self) -> bool {
        self.kind == FileKind::File && self.mode & 0o111 != 0
    }

    fn from_stat(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            // A file system that reports a negative size is broken; zero makes readers find nothing.
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name. Entries whose name is not UTF-8 are left out: nothing that repot looks for is among them.
    pub name: String,
    /// What it is, symlinks not followed.
    pub kind: FileKind,
}

/// A read-only handle on the root directory of an untrusted tree.
///
/// Paths are absolute paths inside the tree; a missing leading slash makes no difference. `..` at the top and
/// absolute symlinks stay inside, as after chroot(2).
#[derive(Debug)]
pub struct RootRead {
    root: pathrs::Root,
    dir: PathBuf,
}

impl RootRead {
    /// Opens the directory that holds the tree.
    ///
    /// # Errors
    /// [`Error::Open`] if it cannot be opened or is no directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = |source| Error::Open {
            dir: dir.to_owned(),
            source,
        };
        // Opened here and not by pathrs, whose error would hide the errno behind its own kinds.
        let fd = rustix::fs::open(
            dir,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| failed(errno.into()))?;
        Ok(Self::from_fd(fd, dir.to_owned()))
    }

    /// The same from a descriptor of the directory; `dir` is only for messages.
    pub fn from_fd(fd: OwnedFd, dir: PathBuf) -> Self {
        Self {
            root: pathrs::Root::from_fd(fd),
            dir,
        }
    }

    /// The directory on the host, for messages only: never join a path of the tree to it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `path` is, symlinks followed.
    ///
    /// # Errors
    /// Any but [`Error::NotRegular`] and [`Error::TooLarge`].
    pub fn metadata(&self, path: &str) -> Result<Metadata> {
        stat(path, &self.handle(path)?)
    }

    /// What `path` is, a symlink at its end not followed.
    ///
    /// # Errors
    /// As [`Self::metadata`].
    pub fn symlink_metadata(&self, path: &str) -> Result<Metadata> {
        stat(path, &beneath::lookup(&self.root, path, Follow::No)?)
    }

    /// Whether `path` exists, symlinks followed. What cannot be looked up counts as missing.
    pub fn exists(&self, path: &str) -> bool {
        self.handle(path).is_ok()
    }

    /// Whether `path` is a directory, symlinks followed.
    pub fn is_dir(&self, path: &str) -> bool {
        self.is(path, FileKind::Directory)
    }

    /// Whether `path` is a regular file, symlinks followed.
    pub fn is_file(&self, path: &str) -> bool {
        self.is(path, FileKind::File)
    }

    /// Whether `path` is a regular file with an execute bit, symlinks followed.
    pub fn is_executable(&self, path: &str) -> bool {
        self.metadata(path).is_ok_and(|found| found.is_executable())
    }

    /// The text of a symlink. It is a path *inside* the tree, to be looked up by this handle again.
    ///
    /// # Errors
    /// [`Error::BadPath`] if `path` is no symlink or its text is not UTF-8, else as [`Self::metadata`].
    pub fn read_link(&self, path: &str) -> Result<String> {
        let handle = beneath::lookup(&self.root, path, Follow::No)?;
        let text =
            rustix::fs::readlinkat(&handle, "", Vec::new()).map_err(|errno| match errno {
                // What readlinkat(2) says of an empty name if the descriptor is no symlink.
                rustix::io::Errno::NOENT => Error::BadPath {
                    path: path.to_owned(),
                },
                other => Error::from_errno(path, other),
            })?;
        let text = PathBuf::from(std::ffi::OsString::from_vec(text.into_bytes()));
        utf8(path, text)
    }

    /// Where `path` ends after all symlinks, as an absolute path inside the tree.
    ///
    /// The kernel resolves it; the name of the result is then read from procfs, where it is a path of the host
    /// that begins with the root's own.
    ///
    /// # Errors
    /// As [`Self::metadata`]; [`Error::BadPath`] if the end has no UTF-8 name below the root.
    pub fn resolve(&self, path: &str) -> Result<String> {
        let handle = self.handle(path)?;
        let top = beneath::lookup(&self.root, ".", Follow::Yes)?;
        let name = beneath::host_name(path, &handle)?;
        let inside = name
            .strip_prefix(beneath::host_name("/", &top)?)
            .map_err(|_| Error::BadPath {
                path: path.to_owned(),
            })?;
        Ok(format!("/{}", utf8(path, inside.to_owned())?))
    }

    /// Opens a regular file for reading, symlinks followed.
    ///
    /// # Errors
    /// [`Error::NotRegular`] for everything else, otherwise as [`Self::metadata`].
    pub fn open_file(&self, path: &str) -> Result<(File, Metadata)> {
        let handle = self.handle(path)?;
        let found = stat(path, &handle)?;
        if found.kind != FileKind::File {
            return Err(Error::NotRegular {
                path: path.to_owned(),
                found: found.kind,
            });
        }
        // Reopens the very inode that was looked at, so a swap in between changes nothing.
        let file = beneath::reopen(path, &handle)?;
        Ok((file, found))
    }

    /// The whole content of a regular file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has more than `limit_bytes`, otherwise as [`Self::open_file`].
    pub fn read(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        let (file, found) = self.open_file(path)?;
        let too_large = || Error::TooLarge {
            path: path.to_owned(),
            limit: limit_bytes,
        };
        if found.size_bytes > limit_bytes {
            return Err(too_large());
        }
        // One byte more than allowed tells a file that has grown meanwhile, or whose size is a lie (procfs).
        let bytes = take(path, file, found, limit_bytes.saturating_add(1))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// The first `limit_bytes` of a regular file, or all of it.
    ///
    /// # Errors
    /// As [`Self::open_file`].
    pub fn read_head(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        let (file, found) = self.open_file(path)?;
        take(path, file, found, limit_bytes)
    }

    /// A text file of at most [`TEXT_LIMIT_BYTES`]; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(&self, path: &str) -> Result<String> {
        let bytes = self.read(path, TEXT_LIMIT_BYTES)?;
        // Nearly every file is valid UTF-8 and keeps its buffer.
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The entries of a directory, sorted by name, without `.` and `..`.
    ///
    /// # Errors
    /// [`Error::NotADirectory`]; [`Error::TooLarge`] beyond [`DIR_LIMIT`] entries; as [`Self::metadata`].
    pub fn read_dir(&self, path: &str) -> Result<Vec<DirEntry>> {
        let dir = beneath::open_dir(&self.root, path)?;
        let failed = |errno| Error::from_errno(path, errno);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            if entries.len() == DIR_LIMIT {
                return Err(Error::TooLarge {
                    path: path.to_owned(),
                    limit: DIR_LIMIT as u64,
                });
            }
            let mut kind = FileKind::from(entry.file_type());
            if kind == FileKind::Unknown {
                // Some file systems leave d_type empty (readdir(3)).
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                if let Ok(stat) = rustix::fs::statat(&dir, name, flags) {
                    kind = FileType::from_raw_mode(stat.st_mode).into();
                }
            }
            entries.push(DirEntry {
                name: name.to_owned(),
                kind,
            });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// A handle (`O_PATH`) of what `path` names, a symlink at its end not followed.
    pub(crate) fn handle_nofollow(&self, path: &str) -> Result<OwnedFd> {
        beneath::lookup(&self.root, path, Follow::No)
    }

    /// The names in a directory, whatever their bytes, a symlink at the end of `path` not followed.
    pub(crate) fn list_nofollow(&self, path: &str) -> Result<Vec<CString>> {
        let handle = self.handle_nofollow(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&handle, ".", flags, Mode::empty())
            .map_err(|errno| Error::from_errno(path, errno))?;
        beneath::list(path, &dir)
    }

    fn is(&self, path: &str, kind: FileKind) -> bool {
        self.metadata(path).is_ok_and(|found| found.kind == kind)
    }

    /// For the parts of this type in other files of the crate.
    pub(crate) fn handle_of_root(&self) -> &pathrs::Root {
        &self.root
    }

    fn handle(&self, path: &str) -> Result<OwnedFd> {
        beneath::lookup(&self.root, path, Follow::Yes)
    }
}

fn stat(path: &str, handle: &OwnedFd) -> Result<Metadata> {
    rustix::fs::fstat(handle)
        .map(|stat| Metadata::from_stat(&stat))
        .map_err(|errno| Error::from_errno(path, errno))
}

fn take(path: &str, file: File, found: Metadata, limit_bytes: u64) -> Result<Vec<u8>> {
    // The size is only a hint, and one from hostile hands: never reserve more than a megabyte for it.
    let hint = found.size_bytes.min(limit_bytes).min(1 << 20);
    let mut bytes = Vec::with_capacity(usize::try_from(hint).unwrap_or(0).saturating_add(1));
    file.take(limit_bytes)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn utf8(path: &str, text: PathBuf) -> Result<String> {
    text.into_os_string()
        .into_string()
        .map_err(|_| Error::BadPath {
            path: path.to_owned(),
        })
}
