//! One error for all kernel calls: the call with its arguments and the errno, printed as strace does.

use rustix::io::Errno;

/// A kernel call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}({args}): {errno}")]
pub struct Error {
    /// Name of the call.
    pub call: &'static str,
    /// The arguments that matter, for people.
    pub args: String,
    /// What the kernel answered.
    pub errno: Errno,
}

/// Result of a kernel call.
pub type Result<T> = std::result::Result<T, Error>;

/// The errno of the last libc call on this thread, with the call that it belongs to.
pub(crate) fn last(call: &'static str, args: impl Into<String>) -> Error {
    let errno = std::io::Error::last_os_error();
    Error {
        call,
        args: args.into(),
        errno: Errno::from_io_error(&errno).unwrap_or(Errno::IO),
    }
}
