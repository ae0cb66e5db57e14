//! The safe handle on an untrusted tree, and parsers for the files in it.
//!
//! `RootRead` resolves paths beneath the root and reads within limits; `format` holds pure parsers on text or
//! bytes, without any I/O; `layer` writes edits as a directory to be laid over the tree; `program` reads what execve(2) would look at, and searches binaries for texts.
//! Nothing here decides what a fact means: that is `repot-doctor`'s.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod attrs;
mod beneath;
mod error;
pub mod fix;
pub mod format;
#[cfg(test)]
mod hostile;
pub mod layer;
mod probe;
mod program;
mod root;
mod write;

pub use error::{Error, ErrorKind};
pub use program::{Program, contains, texts};
pub use root::{DIR_LIMIT, DirEntry, FileKind, Metadata, Result, RootRead, TEXT_LIMIT_BYTES};
pub use write::{KEEP_LIMIT_BYTES, Root};
