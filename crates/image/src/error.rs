//! What can go wrong between a source and the store.
//!
//! One variant per thing that a caller can act on. Positions are byte offsets in the *uncompressed* archive,
//! where `tar -tvR` (in blocks of 512) and a hex dump would find the entry. Names from an archive are shown
//! escaped, since they may hold newlines and terminal control sequences. Hints are the callers' business.

use crate::oci::Fault;
use std::io;
use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a source could not be imported, or the store not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be opened or looked at.
    #[error("cannot open {}", .path.display())]
    Open {
        /// As the user named it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading the source failed half-way.
    #[error("cannot read {source_name}")]
    Read {
        /// As the user named it.
        source_name: String,
        /// Why.
        source: io::Error,
    },
    /// The source holds no byte, or an archive without a single entry.
    #[error("{source_name} is empty: {what}")]
    Empty {
        /// As the user named it.
        source_name: String,
        /// Which kind of emptiness.
        what: &'static str,
    },
    /// The first bytes are those of a format that is known but not read.
    #[error("{source_name} is {format}, which repot does not read yet; {instead}")]
    Unsupported {
        /// As the user named it.
        source_name: String,
        /// `a squashfs image`, ...
        format: &'static str,
        /// What the user can do instead.
        instead: &'static str,
    },
    /// The first bytes belong to no format that repot knows.
    #[error(
        "{source_name} is no root file system in a format that repot knows; it begins with {seen}"
    )]
    UnknownFormat {
        /// As the user named it.
        source_name: String,
        /// The first bytes, printable and in hexadecimal.
        seen: String,
    },
    /// An entry would have left the tree, or is meant to confuse whoever unpacks it.
    #[error("refused entry {entry} at byte {offset} of the archive: {reason}")]
    Refused {
        /// Name of the entry, quoted and escaped.
        entry: String,
        /// Where its header begins in the uncompressed archive.
        offset: u64,
        /// Why.
        reason: Refusal,
    },
    /// The archive is damaged: a header that cannot be right.
    #[error("damaged archive at byte {offset}: {what}")]
    Damaged {
        /// Where in the uncompressed archive.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The archive ends too early.
    #[error("the archive is cut off at byte {offset}, in {within}")]
    Truncated {
        /// Where in the uncompressed archive.
        offset: u64,
        /// What was being read there: a header, or the data of an entry.
        within: String,
    },
    /// The compressed data is damaged or cut off.
    #[error("damaged or cut off {format} data after {offset} uncompressed bytes")]
    Decompress {
        /// `gzip`, `xz`, `zstd`, `bzip2`.
        format: &'static str,
        /// How much of the archive came out before.
        offset: u64,
        /// What the decoder says.
        source: io::Error,
    },
    /// A limit of [`crate::Limits`] was reached.
    #[error("the archive exceeds the limit of {limit} {what} at byte {offset}")]
    Limit {
        /// `entries`, `unpacked bytes`, ...
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Where in the uncompressed archive.
        offset: u64,
    },
    /// The file system of the store is full, or the entry is larger than what is free on it.
    #[error("no space left for the unpacked tree in {}", .path.display())]
    NoSpace {
        /// Directory whose file system is full.
        path: PathBuf,
    },
    /// An entry could not be created.
    #[error("cannot {call} {entry} (byte {offset} of the archive)")]
    Create {
        /// The failed operation: `create`, `write`, `set the owner of`, ...
        call: &'static str,
        /// Name of the entry, quoted and escaped.
        entry: String,
        /// Where its header begins in the uncompressed archive.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// There is no directory with `usr`, `bin` or the like in it.
    #[error("no root file system in {source_name}: {found}")]
    NoRootfs {
        /// As the user named it.
        source_name: String,
        /// What is there instead.
        found: String,
    },
    /// A part of an image of layers is not what it should be.
    #[error("cannot use {part} of the image {source_name}")]
    BadImage {
        /// As the user named it.
        source_name: String,
        /// A file in the image, or a digest; escaped.
        part: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack the layer {layer}")]
    InLayer {
        /// Its path in the image, escaped.
        layer: String,
        /// Why.
        source: Box<Error>,
    },
    /// An archive could not be written to where it should go.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        source: io::Error,
    },
    /// A program of the host that makes an image is missing or failed.
    #[error("cannot run {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What should be written is there already, and is no file that could be replaced.
    #[error("{} is there already", .path.display())]
    Exists {
        /// As the user named it.
        path: PathBuf,
    },
    /// A file or directory of the store itself could not be used.
    #[error("cannot {call} {}", .path.display())]
    Store {
        /// The failed operation.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record of an image cannot be read: made by a newer repot, or damaged.
    #[error("cannot understand {}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No image has an id that begins like this.
    #[error("no image {0:?} in the store")]
    NoImage(String),
    /// Several images have.
    #[error("{prefix:?} could be {}", .matches.join(" or "))]
    Ambiguous {
        /// What the user typed.
        prefix: String,
        /// Short ids of the images that fit.
        matches: Vec<String>,
    },
    /// Somebody holds a lock on the image.
    #[error("image {0} is in use")]
    InUse(String),
    /// Something is mounted inside a tree that was to be removed.
    #[error("something is mounted on {}: not removed", .path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
    },
}

/// Coarse classes of [`Error`], for exit codes and hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The source is not there or cannot be read.
    Source,
    /// The source is of a kind that cannot be imported.
    Format,
    /// The archive tries to do something that it must not.
    Hostile,
    /// The archive is damaged or incomplete.
    Damaged,
    /// A limit was reached.
    Limit,
    /// The disk is full.
    NoSpace,
    /// The store or the tree in it could not be written.
    Store,
    /// The image does not exist, or the name fits several.
    NotFound,
    /// The image or a part of it is in use.
    Busy,
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { .. } | Self::Read { .. } => ErrorKind::Source,
            Self::Empty { .. }
            | Self::Unsupported { .. }
            | Self::UnknownFormat { .. }
            | Self::NoRootfs { .. } => ErrorKind::Format,
            Self::BadImage { source, .. } => source.kind(),
            Self::InLayer { source, .. } => source.kind(),
            Self::Refused { .. } => ErrorKind::Hostile,
            Self::Damaged { .. } | Self::Truncated { .. } | Self::Decompress { .. } => {
                ErrorKind::Damaged
            }
            Self::Limit { .. } => ErrorKind::Limit,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Create { .. }
            | Self::Write { .. }
            | Self::Store { .. }
            | Self::Record { .. }
            | Self::Program { .. }
            | Self::Exists { .. } => ErrorKind::Store,
            Self::NoImage(_) | Self::Ambiguous { .. } => ErrorKind::NotFound,
            Self::InUse(_) | Self::Mounted { .. } => ErrorKind::Busy,
        }
    }

    /// For the store's own files; a full disk is told apart from everything else.
    pub(crate) fn store(call: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::NoSpace {
                path: path.to_owned(),
            };
        }
        Self::Store {
            call,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether this is ENOSPC or EDQUOT.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Why an entry of an archive was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name begins with a slash.
    #[error("its name is an absolute path")]
    Absolute,
    /// A component of the name is `..`.
    #[error("its name has '..' in it")]
    ParentDir,
    /// There is no name, or one that only a directory may have.
    #[error("it has no usable name")]
    NoName,
    /// The name or link target holds a NUL byte, where programs disagree on its end.
    #[error("a NUL byte is in its name")]
    Nul,
    /// Longer than Linux can address.
    #[error("its name is longer than Linux allows ({limit} bytes in a {of})")]
    NameTooLong {
        /// The limit in bytes.
        limit: usize,
        /// `component` or `path`.
        of: &'static str,
    },
    /// A parent directory of it is a symlink.
    #[error("it would be written through the symlink {0}")]
    ThroughSymlink(String),
    /// A parent directory of it is a file.
    #[error("{0} is not a directory")]
    NotDirectory(String),
    /// A directory with something in it is where a file should go.
    #[error("a directory that is not empty is already there")]
    DirectoryInTheWay,
    /// The target of a hard link is refused for one of the reasons above.
    #[error("the file that it is a hard link to, {target}, cannot be used: {reason}")]
    LinkTarget {
        /// The target, quoted and escaped.
        target: String,
        /// Why.
        reason: Box<Refusal>,
    },
    /// The target of a hard link is not in the tree (yet).
    #[error("it is a hard link to {0}, which is not in the archive before it")]
    LinkMissing(String),
    /// The target of a hard link is a directory.
    #[error("it is a hard link to {0}, a directory")]
    LinkToDirectory(String),
    /// A mark in a layer that hides nothing that could be named.
    #[error("it is a whiteout without a name, or a directory")]
    BadWhiteout,
    /// A symlink without target or with one that Linux cannot store.
    #[error("the symlink's target is empty or too long")]
    BadSymlink,
    /// Owner or group beyond 32 bits.
    #[error("its owner or group is no valid id")]
    BadOwner,
}

/// Quotes a name from an archive so that nothing in it reaches the terminal unescaped.
pub(crate) fn quote(name: &[u8]) -> String {
    const SHOWN: usize = 256;
    let cut = name.len().min(SHOWN);
    let text = String::from_utf8_lossy(&name[..cut]);
    let dots = if cut < name.len() { "..." } else { "" };
    format!("{:?}{dots}", text)
}
