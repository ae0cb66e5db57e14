//! Reading tar: headers and their extensions to members, in one pass, with bounded memory.
//!
//! Understands v7, ustar, GNU and PAX. Pure: nothing here touches a file system. It differs from the reader of
//! the `tar` crate, of which only the header layout is used, in that long names have a limit, PAX values may
//! hold newlines (binary extended attributes do), PAX sparse files are read, and errors carry offsets.
//! Sources: pax in POSIX.1-2024, "Basic Tar Format" and "Sparse Formats" in GNU tar's manual, tar(5) of
//! libarchive.

mod acl;
mod header;
mod members;
mod path;
mod pax;
mod sparse;
mod sparse_map;

pub(crate) use header::looks_like_tar;
pub(crate) use members::{Kind, MAX_UNPACKED, Member, Members};
pub(crate) use path::MemberPath;
pub(crate) use sparse::{Extent, MAX_EXTENTS};

/// Everything in a tar archive comes in blocks of this size.
pub(crate) const BLOCK: usize = 512;
