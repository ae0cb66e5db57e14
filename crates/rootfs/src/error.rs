//! What can go wrong beneath the root of an untrusted tree, with the path inside the tree.
//!
//! Errors of the kernel arrive as errno through `pathrs` or `rustix` and become one variant per thing that a
//! caller can act on. Nothing here touches the file system.

use crate::FileKind;
use std::io;
use std::path::PathBuf;

/// An error below the root of a tree. `path` is always the path inside the tree, as the caller gave it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tree itself could not be opened.
    #[error("opening the tree {}", dir.display())]
    Open {
        /// The directory on the host.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing is there, or a symlink on the way leads nowhere.
    #[error("{path} does not exist in the tree")]
    NotFound {
        /// Path inside the tree.
        path: String,
    },
    /// Symlinks lead in a circle, or there are more than the kernel follows.
    #[error("{path} leads through too many symlinks")]
    Loop {
        /// Path inside the tree.
        path: String,
    },
    /// The lookup was stopped because it was about to leave the tree, or the tree changed under it.
    #[error("{path} leads out of the tree")]
    Escape {
        /// Path inside the tree.
        path: String,
    },
    /// A component on the way, or the path itself where a directory is asked for, is none.
    #[error("{path} is not a directory, or leads through something that is none")]
    NotADirectory {
        /// Path inside the tree.
        path: String,
    },
    /// Only regular files are ever opened: a FIFO would block, a device may act on being opened.
    #[error("{path} is a {found}, not a regular file")]
    NotRegular {
        /// Path inside the tree.
        path: String,
        /// What it is.
        found: FileKind,
    },
    /// The file or directory holds more than the caller is ready to take.
    #[error("{path} is larger than {limit} bytes or entries")]
    TooLarge {
        /// Path inside the tree.
        path: String,
        /// The caller's limit.
        limit: u64,
    },
    /// The user who runs repot may not read it.
    #[error("{path} may not be read")]
    Denied {
        /// Path inside the tree.
        path: String,
    },
    /// The path cannot be handed to the kernel, or its end has no name inside the tree.
    #[error("{path:?} is not a path that can be looked up")]
    BadPath {
        /// Path inside the tree.
        path: String,
    },
    /// Something could not be made or changed, in the tree or in a layer above it.
    #[error("{doing} {path}")]
    Write {
        /// Path inside the tree.
        path: String,
        /// What was being done, in the present participle.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An extended attribute could not be given to what takes a file's place, which would have lost it.
    #[error("the extended attribute {name} of {path} cannot be kept")]
    Xattr {
        /// Path inside the tree.
        path: String,
        /// Its name.
        name: String,
    },
    /// What was written into the tree is no longer there, or not as it was written.
    #[error("changed by somebody else since: {}", paths.join(", "))]
    Changed {
        /// Paths inside the tree.
        paths: Vec<String>,
    },
    /// The journal could not be written or read.
    #[error("{doing} {}", file.display())]
    Journal {
        /// The file on the host.
        file: PathBuf,
        /// What was being done, in the present participle.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else is writing to the same tree.
    #[error("another command is writing to the tree {}", dir.display())]
    Busy {
        /// The directory on the host.
        dir: PathBuf,
    },
    /// Everything else that the kernel reports: a broken disk, no memory, no more descriptors.
    #[error("reading {path}")]
    Io {
        /// Path inside the tree.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a caller may want to know of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such file, or none that can be reached: missing, dangling, loop, wrong kind of component.
    Absent,
    /// There is something, but it is not what may be read: no regular file, too large, out of the tree.
    Unsuitable,
    /// This user may not read it.
    Denied,
    /// The machine itself failed; nothing was learnt about the tree.
    Io,
}

impl Error {
    /// The error in four kinds. [`ErrorKind::Absent`] and [`ErrorKind::Unsuitable`] say something of the tree,
    /// the other two only of us.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Loop { .. } | Self::NotADirectory { .. } => {
                ErrorKind::Absent
            }
            Self::Escape { .. }
            | Self::NotRegular { .. }
            | Self::TooLarge { .. }
            | Self::BadPath { .. } => ErrorKind::Unsuitable,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Open { .. }
            | Self::Write { .. }
            | Self::Xattr { .. }
            | Self::Changed { .. }
            | Self::Journal { .. }
            | Self::Busy { .. }
            | Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// For `map_err` on calls that make or change something.
    pub(crate) fn write(path: &str, doing: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Write {
            path: path.clone(),
            doing,
            source: errno.into(),
        }
    }

    /// Makes the variant that fits an errno met at `path`.
    pub(crate) fn from_errno(path: &str, errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        let path = path.to_owned();
        match errno {
            Errno::NOENT => Self::NotFound { path },
            Errno::LOOP => Self::Loop { path },
            Errno::XDEV => Self::Escape { path },
            Errno::NOTDIR => Self::NotADirectory { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path },
            Errno::INVAL | Errno::NAMETOOLONG => Self::BadPath { path },
            other => Self::Io {
                path,
                source: other.into(),
            },
        }
    }

    /// The same for an error of pathrs, whose emulated resolver reports some things without an errno.
    pub(crate) fn from_pathrs(path: &str, error: &pathrs::error::Error) -> Self {
        use pathrs::error::ErrorKind as K;
        let kind = error.kind();
        if let K::OsError(Some(errno)) = kind {
            return Self::from_errno(path, rustix::io::Errno::from_raw_os_error(errno));
        }
        let path = path.to_owned();
        if kind == K::SafetyViolation {
            Self::Escape { path }
        } else if kind == K::InvalidArgument {
            Self::BadPath { path }
        } else {
            // The other kinds are failures of the machine or of pathrs itself.
            Self::Io {
                path,
                source: io::Error::other(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn errnos_become_kinds() {
        for (errno, kind) in [
            (Errno::NOENT, ErrorKind::Absent),
            (Errno::LOOP, ErrorKind::Absent),
            (Errno::NOTDIR, ErrorKind::Absent),
            (Errno::XDEV, ErrorKind::Unsuitable),
            (Errno::NAMETOOLONG, ErrorKind::Unsuitable),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::IO, ErrorKind::Io),
            (Errno::MFILE, ErrorKind::Io),
        ] {
            assert_eq!(Error::from_errno("/x", errno).kind(), kind, "{errno}");
        }
    }
}
