//! What can be wrong with an image of layers.

use crate::error::ErrorKind;

/// What is wrong with a part of an image.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A document or layer that another one names.
    #[error("it is not there: the image is incomplete")]
    Missing,
    /// Something else than a file is in its place.
    #[error("it is no regular file")]
    NotAFile,
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    /// Larger than any that is honest.
    #[error("it has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Another size than what names it says.
    #[error("it has {found} bytes, but should have {expected}: it is damaged or cut off")]
    Size {
        /// As named.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// Another digest than what names it says.
    #[error("it is damaged or was changed: its digest is {found}, but should be {expected}")]
    Mismatch {
        /// As named.
        expected: String,
        /// As found.
        found: String,
    },
    /// Not the JSON that it should be.
    #[error("it cannot be understood")]
    Json(#[source] serde_json::Error),
    /// Something that is no digest where one should be.
    #[error("it has {0:?} where a digest should be")]
    Digest(String),
    /// A digest that is not computed here.
    #[error("it uses SHA-512, which repot does not read")]
    Algorithm,
    /// A path that leads out of the archive, or is none.
    #[error("it names {path}, which is no path in the archive: {reason}")]
    Path {
        /// Quoted and escaped.
        path: String,
        /// Why.
        reason: String,
    },
    /// Both an index and a manifest.
    #[error("it is both an index and a manifest, so that nobody can tell which image is meant")]
    Ambiguous,
    /// A manifest from before 2016.
    #[error("it is a manifest of schema 1, which repot does not read")]
    Schema,
    /// An image layout of a version to come.
    #[error("the layout is of version {0}, and repot reads 1.0")]
    LayoutVersion(String),
    /// More layers than any honest image has.
    #[error("it has {count} layers, more than the limit of 1024")]
    Layers {
        /// How many.
        count: usize,
    },
    /// Manifest and configuration do not agree.
    #[error("it has {layers} layers, and its configuration tells of {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// An index in an index in an index, or more of them than any honest image has.
    #[error("its indexes are nested too deep, or are too many")]
    Nested,
    /// No image at all.
    #[error("there is no image in it")]
    NoImage,
    /// A chart, a signature, ...
    #[error("it is no root file system but an artifact of the type {0}")]
    Artifact(String),
    /// Not for Linux.
    #[error("it is an image for {0}, not for Linux")]
    OtherSystem(String),
    /// None for this host.
    #[error("there is no image for {wanted} in it, only for {}", .there.join(", "))]
    NoPlatform {
        /// The host's platform.
        wanted: String,
        /// Those in it.
        there: Vec<String>,
    },
    /// Several that could be meant.
    #[error("there are several images in it, {}; save the one that is meant alone", .0.join(", "))]
    Several(Vec<String>),
    /// A layer in a form that is not read.
    #[error("it is no tar archive (its media type is {0:?})")]
    LayerType(String),
}

impl Fault {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(_) => ErrorKind::Source,
            Self::Missing
            | Self::Size { .. }
            | Self::Mismatch { .. }
            | Self::Json(_)
            | Self::LayerCount { .. } => ErrorKind::Damaged,
            Self::NotAFile | Self::Digest(_) | Self::Path { .. } | Self::Ambiguous => {
                ErrorKind::Hostile
            }
            Self::TooLarge { .. } | Self::Layers { .. } | Self::Nested => ErrorKind::Limit,
            Self::Algorithm
            | Self::Schema
            | Self::LayoutVersion(_)
            | Self::NoImage
            | Self::Artifact(_)
            | Self::OtherSystem(_)
            | Self::NoPlatform { .. }
            | Self::Several(_)
            | Self::LayerType(_) => ErrorKind::Format,
        }
    }
}
