//! Sources: what a user can name, opened and told apart by content.
//!
//! A format is one file here with one [`Source`] in it, and one line in [`SOURCES`].

mod dir;
mod folder;
mod foreign;
pub(crate) mod oci;
mod squashfs;
mod tar;

use crate::archive::MAX_UNPACKED;
use crate::compress::Input;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::oci::ImageConfig;
use crate::unpack::{Context, UnpackReport};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRef {
    /// A directory that is or holds a root file system.
    Directory(PathBuf),
    /// A directory with an image of layers: an OCI image layout.
    Layout(PathBuf),
    /// A file, device or pipe; what is in it is found out when it is read.
    File(PathBuf),
    /// `-`: standard input.
    Stdin,
}

impl SourceRef {
    /// Looks at what `text` names. A directory with the parts of a split image means the part with the tree.
    ///
    /// # Errors
    /// [`Error::Open`] if there is nothing of that name.
    pub fn parse(text: &OsStr) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let path = PathBuf::from(text);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::of_directory(path)),
            Ok(_) => Ok(Self::File(path)),
            Err(source) => Err(Error::Open { path, source }),
        }
    }

    fn of_directory(path: PathBuf) -> Self {
        // Nothing in a tree makes it anything else.
        if dir::is_rootfs(&path) {
            return Self::Directory(path);
        }
        if oci::is_layout(&path) {
            return Self::Layout(path);
        }
        match folder::root_of(&path) {
            Ok(Some(file)) => Self::File(file),
            // What cannot be read is told by whoever reads it.
            Ok(None) | Err(_) => Self::Directory(path),
        }
    }
}

impl std::fmt::Display for SourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) | Self::Layout(path) | Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// An opened source.
#[derive(Debug)]
pub(crate) struct Opened {
    /// As the user named it.
    pub(crate) name: String,
    /// Its first bytes: enough for the magic number of an ISO image (32 KiB in) and a btrfs (64 KiB in).
    pub(crate) head: Vec<u8>,
    rest: Reader,
    /// Its size, if it is a regular file.
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug)]
enum Reader {
    Directory(PathBuf),
    Layout(PathBuf),
    File(File),
    Stdin,
}

const HEAD_BYTES: u64 = 68 << 10;

impl Opened {
    /// Opens a file or standard input and reads its head.
    pub(crate) fn new(source: &SourceRef) -> Result<Self> {
        let name = source.to_string();
        let (mut rest, bytes) = match source {
            SourceRef::Directory(path) => (Reader::Directory(path.clone()), None),
            SourceRef::Layout(path) => (Reader::Layout(path.clone()), None),
            SourceRef::File(path) => {
                let (file, bytes) = open_file(path)?;
                (Reader::File(file), bytes)
            }
            SourceRef::Stdin => (Reader::Stdin, None),
        };
        let mut head = Vec::new();
        let result = match &mut rest {
            Reader::Directory(_) | Reader::Layout(_) => Ok(0),
            Reader::File(file) => file.take(HEAD_BYTES).read_to_end(&mut head),
            // Unlocked and unbuffered beyond what is asked for: the rest is read by another thread.
            Reader::Stdin => io::stdin().take(HEAD_BYTES).read_to_end(&mut head),
        };
        match result {
            Ok(_) => Ok(Self {
                name,
                head,
                rest,
                bytes,
            }),
            Err(source) => Err(Error::Read {
                source_name: name,
                source,
            }),
        }
    }

    /// Calls `each` with every byte of a regular file, and goes back to where it was.
    pub(crate) fn for_all(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let Reader::File(file) = &mut self.rest else {
            return Ok(());
        };
        let mut read = || -> io::Result<()> {
            let behind_head = file.stream_position()?;
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => each(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            file.seek(SeekFrom::Start(behind_head)).map(|_| ())
        };
        read().map_err(|source| Error::Read {
            source_name: self.name.clone(),
            source,
        })
    }

    /// The same as a file that can be sought in. What cannot is copied into a file without a name on the file system of `dir`, up
    /// to what may be unpacked.
    pub(crate) fn seekable(self, dir: BorrowedFd<'_>, limits: &Limits) -> Result<Self> {
        if self.bytes.is_some() {
            return Ok(self);
        }
        let name = self.name.clone();
        let limit = limits.max_unpacked_bytes;
        let mut from = match self.rest {
            Reader::File(file) => Box::new(Cursor::new(self.head).chain(file)) as Box<dyn Read>,
            Reader::Stdin => Box::new(Cursor::new(self.head).chain(io::stdin())),
            Reader::Directory(_) | Reader::Layout(_) => return Ok(self),
        };
        let mut copy = || -> io::Result<(File, u64)> {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            let bytes = io::copy(&mut from.by_ref().take(limit.saturating_add(1)), &mut file)?;
            file.rewind()?;
            Ok((file, bytes))
        };
        match copy() {
            Ok((_, bytes)) if bytes > limit => Err(Error::Limit {
                what: MAX_UNPACKED,
                limit,
                offset: bytes,
            }),
            Ok((file, bytes)) => Self::of_file(name, file, bytes),
            Err(source) => Err(Error::Read {
                source_name: name,
                source,
            }),
        }
    }

    fn of_file(name: String, mut file: File, bytes: u64) -> Result<Self> {
        let mut head = Vec::new();
        match file.by_ref().take(HEAD_BYTES).read_to_end(&mut head) {
            Ok(_) => Ok(Self {
                name,
                head,
                rest: Reader::File(file),
                bytes: Some(bytes),
            }),
            Err(source) => Err(Error::Read {
                source_name: name,
                source,
            }),
        }
    }

    /// The file that it is.
    pub(crate) fn into_file(self) -> Option<File> {
        match self.rest {
            Reader::File(file) => Some(file),
            Reader::Directory(_) | Reader::Layout(_) | Reader::Stdin => None,
        }
    }

    /// Its path, if it is a directory.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match &self.rest {
            Reader::Directory(path) => Some(path),
            Reader::Layout(_) | Reader::File(_) | Reader::Stdin => None,
        }
    }

    /// Its path, if it is a directory with an image of layers.
    pub(crate) fn layout(&self) -> Option<&Path> {
        match &self.rest {
            Reader::Layout(path) => Some(path),
            Reader::Directory(_) | Reader::File(_) | Reader::Stdin => None,
        }
    }

    /// All of it, from the first byte. Nothing, if it is a directory.
    pub(crate) fn into_input(self, count: Arc<AtomicU64>) -> Input {
        let head = Cursor::new(self.head);
        match self.rest {
            Reader::Directory(_) | Reader::Layout(_) => Input::new(Box::new(head), count),
            Reader::File(file) => Input::new(Box::new(head.chain(file)), count),
            Reader::Stdin => Input::new(Box::new(head.chain(io::stdin())), count),
        }
    }
}

fn open_file(path: &Path) -> Result<(File, Option<u64>)> {
    let open = || -> io::Result<(File, Option<u64>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata.is_file().then_some(metadata.len())))
    };
    open().map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

/// What an import has made.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// SHA-256 of the source's bytes.
    pub(crate) sha256: [u8; 32],
    /// Their number.
    pub(crate) bytes: u64,
    /// Directory in the source that was imported instead of all of it; mostly empty.
    pub(crate) prefix: Vec<u8>,
    /// How it is compressed.
    pub(crate) compression: Option<&'static str>,
    pub(crate) report: UnpackReport,
    /// What an image of layers says about how it is started.
    pub(crate) config: Option<ImageConfig>,
}

/// A format that a source can have.
pub(crate) trait Source: Sync {
    /// Its name, which is the name of its file.
    fn id(&self) -> &'static str;
    /// Whether a source is of this format.
    fn probe(&self, opened: &Opened) -> bool;
    /// What [`Manifest::sha256`] will be, if that is known without reading all of it.
    fn sha256(&self, _opened: &Opened) -> Result<Option<[u8; 32]>> {
        Ok(None)
    }
    /// Puts the tree in it into `root`, an empty directory.
    fn import(
        &self,
        opened: Opened,
        count: Arc<AtomicU64>,
        root: OwnedFd,
        context: Context<'_>,
    ) -> Result<Manifest>;
}

/// Every format, sorted.
static SOURCES: [&dyn Source; 4] = [&dir::Directory, &oci::Oci, &squashfs::Squashfs, &tar::Tar];

/// The format of an opened source.
///
/// # Errors
/// What it is instead, or what it looks like.
pub(crate) fn find(opened: &Opened) -> Result<&'static dyn Source> {
    let source_name = || opened.name.clone();
    if let Some(source) = SOURCES.into_iter().find(|it| it.probe(opened)) {
        return Ok(source);
    }
    if opened.head.is_empty() {
        return Err(Error::Empty {
            source_name: source_name(),
            what: "it has no bytes",
        });
    }
    Err(match foreign::find(&opened.head) {
        // An archive without entries is nothing but zeros; so is the beginning of some other formats.
        None if opened.head.iter().all(|byte| *byte == 0) => Error::Empty {
            source_name: source_name(),
            what: "an archive without entries",
        },
        found => foreign::error(source_name(), found, &opened.head),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_sorted() {
        assert!(SOURCES.is_sorted_by_key(|source| source.id()));
    }

    #[test]
    fn names_are_looked_up() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("x.tar");
        std::fs::write(&file, "x").unwrap();
        let parse = |path: &Path| SourceRef::parse(path.as_os_str());
        assert_eq!(
            parse(temp.path()).unwrap(),
            SourceRef::Directory(temp.path().into())
        );
        assert_eq!(parse(&file).unwrap(), SourceRef::File(file.clone()));
        assert_eq!(parse(Path::new("-")).unwrap(), SourceRef::Stdin);
        let error = parse(&temp.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Source);
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("x");
        let error = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let opened = Opened::new(&SourceRef::File(file.clone())).unwrap();
            find(&opened).map(Source::id).unwrap_err().to_string()
        };
        assert!(error(b"").contains("empty"));
        assert!(error(b"QFI\xfb\0\0\0\x03").contains("qcow2"));
        assert!(error(b"PK\x03\x04").contains("zip"));
        let mut iso = vec![0; 0x8006];
        iso[0x8001..].copy_from_slice(b"CD001");
        assert!(error(&iso).contains("ISO 9660"));
        assert!(error(b"#!/bin/sh\n").contains("\"#!/bin/sh\\n\""));
    }
}
