//! What every detector does with the tree: read a text if it is there, find a program, note where something stood.
//!
//! A file that is missing, is no file, or may not be read counts as absent here; `inspect` lists the important
//! ones among the unreadable separately. Only failures of the machine itself are errors.

use crate::Result;
use repot_model::Evidence;
use repot_rootfs::{DirEntry, Error, ErrorKind, RootRead};

/// Longest text that is copied from a tree into the facts.
const SEEN_CHARS: usize = 160;

/// Where a usual distribution keeps its programs, in the order in which root's `PATH` has them.
pub(crate) const PROGRAM_DIRS: &[&str] = &[
    "/sbin",
    "/usr/sbin",
    "/bin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
];

/// Turns "there is nothing (usable)" into `None`.
pub(crate) fn optional<T>(result: repot_rootfs::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Io => Err(error.into()),
        Err(
            Error::Open { .. }
            | Error::NotFound { .. }
            | Error::Loop { .. }
            | Error::Escape { .. }
            | Error::NotADirectory { .. }
            | Error::NotRegular { .. }
            | Error::TooLarge { .. }
            | Error::Denied { .. }
            | Error::BadPath { .. }
            | Error::Write { .. }
            | Error::Xattr { .. }
            | Error::Changed { .. }
            | Error::Journal { .. }
            | Error::Busy { .. }
            | Error::Io { .. },
        ) => Ok(None),
    }
}

/// A text file, if there is one that may be read.
pub(crate) fn text(root: &RootRead, path: &str) -> Result<Option<String>> {
    optional(root.read_text(path))
}

/// The entries of a directory; none if there is no such directory.
pub(crate) fn entries(root: &RootRead, path: &str) -> Result<Vec<DirEntry>> {
    Ok(optional(root.read_dir(path))?.unwrap_or_default())
}

/// The first of `dirs` in which `name` is an executable file, as a path.
pub(crate) fn program_in(root: &RootRead, dirs: &[&str], name: &str) -> Option<String> {
    dirs.iter()
        .map(|dir| format!("{dir}/{name}"))
        .find(|path| root.is_executable(path))
}

/// The path of a command as a shell would find it: absolute as it is, else looked up in the usual directories.
pub(crate) fn command_path(root: &RootRead, command: &str) -> Option<String> {
    if command.starts_with('/') {
        return root.is_executable(command).then(|| command.to_owned());
    }
    program_in(root, PROGRAM_DIRS, command)
}

/// Notes where something was seen. The text is cut and freed of control characters: it ends up on terminals.
pub(crate) fn evidence(path: &str, line: Option<u32>, seen: &str) -> Evidence {
    let printable: String = seen
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SEEN_CHARS)
        .collect();
    Evidence {
        path: path.to_owned(),
        line,
        seen: printable,
    }
}

/// The last component of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
