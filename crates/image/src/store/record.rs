//! `image.json`: what is kept of an image besides its tree.

use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::oci::ImageConfig;
use crate::unpack::UnpackReport;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Version of [`ImageRecord`]. Raised on every incompatible change.
pub const RECORD_VERSION: u32 = 1;

/// Name of the file.
pub(super) const FILE: &str = "image.json";

/// Where an image comes from and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// SHA-256 of the source's bytes.
    pub id: ImageId,
    /// The source as the user named it.
    pub source: String,
    /// `tar, zstd`, ...
    pub format: String,
    /// Size of the source in bytes.
    pub source_bytes: u64,
    /// Seconds since the epoch at which it was imported.
    pub created_s: u64,
    /// Directory in the source that is the root file system; empty if it is the top.
    pub prefix: String,
    /// What was unpacked, and what was left out.
    pub unpacked: UnpackReport,
    /// What an image of layers says about how it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ImageConfig>,
}

impl ImageRecord {
    pub(super) fn read(path: &Path, id: &ImageId) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoImage(id.short().to_owned()));
            }
            Err(error) => return Err(Error::store("read", path, error)),
        };
        serde_json::from_slice(&text).map_err(|source| Error::Record {
            path: path.to_owned(),
            source,
        })
    }
}
