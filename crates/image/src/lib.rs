//! SOURCE to STORE: from what a user names to an immutable root file system on disk.
//!
//! [`SourceRef`] is what was named, [`Store::import`] unpacks it into the store, [`Image`] is what is there then.
//! Archives are hostile input: nothing in one reaches a path outside of the tree that is being unpacked
//! (`unpack`), costs more than [`Limits`] allow, or reaches a terminal unescaped. Heavy dependencies end here.
//! No network and no async; nothing is printed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod archive;
mod beneath;
mod compress;
mod error;
mod export;
mod id;
mod limits;
mod oci;
mod pack;
mod progress;
mod remove;
mod source;
mod squashfs;
mod store;
mod stream;
mod unpack;

pub use error::{Error, ErrorKind, Refusal, Result};
pub use export::{Compression, Export, Format, ImageMeta, export, export_at, export_stream};
pub use id::ImageId;
pub use limits::Limits;
pub use oci::{Fault, ImageConfig};
pub use pack::{Layer, Maker, PackReport, pack_tree};
pub use progress::{Phase, Progress, Silent, Snapshot};
pub use remove::remove_tree;
pub use source::SourceRef;
pub use store::{
    Durability, Image, ImageLock, ImageRecord, ImportOptions, Imported, RECORD_VERSION, Store,
};
pub use unpack::UnpackReport;

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Unpacks an uncompressed tar archive into `root`, an empty directory that only this process writes to.
///
/// What [`Store::import`] does after decoding. `place` is the directory's path for messages.
///
/// # Errors
/// Everything that [`Error`] has for archives; the directory then holds what came before.
pub fn unpack_tar(
    reader: impl BufRead,
    root: rustix::fd::OwnedFd,
    place: &Path,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<UnpackReport> {
    let stream = stream::Plain {
        reader,
        name: String::from("the archive"),
    };
    let context = unpack::Context {
        limits,
        progress,
        read_bytes: &AtomicU64::new(0),
        total_bytes: None,
        place,
    };
    unpack::unpack(stream, root, context).map(|(report, _)| report)
}

/// Turns a squashfs image into a tar archive, which [`unpack_tar`] takes. What [`Store::import`] does with one.
///
/// # Errors
/// Everything that [`Error`] has for damaged images.
pub fn squashfs_to_tar(image: &[u8], limits: &Limits, out: &mut dyn Write) -> Result<()> {
    squashfs::write_tar(image, limits, Arc::default(), "the image", out)
}

/// Parses `bytes` as each of the documents that an image of layers has, and says as how many it is one. For fuzzing: what
/// [`Store::import`] parses has to have the right digest.
pub fn parse_documents(bytes: &[u8]) -> usize {
    use oci::documents;
    let parsed = [
        documents::layout(bytes).is_ok(),
        documents::document(bytes).is_ok(),
        documents::config(bytes).is_ok(),
        documents::saved(bytes).is_ok(),
    ];
    parsed.into_iter().filter(|is_one| *is_one).count()
}
