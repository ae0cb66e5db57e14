//! What is under a path of a tree, as it is kept in a journal: enough to make it again, or to tell whether it is still the same.

use crate::attrs::Attrs;
use serde::{Deserialize, Serialize};

/// Bytes that are mostly text: a JSON string where they are UTF-8, else an array of numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Text", into = "Text")]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Raw(Vec<u8>),
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => Self(text.into_bytes()),
            Text::Raw(bytes) => Self(bytes),
        }
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        String::from_utf8(bytes.0).map_or_else(|error| Self::Raw(error.into_bytes()), Self::Utf8)
    }
}

/// What is under a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum State {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        attrs: Attrs,
        /// Of the content; `None`: it does not matter, since nothing changes it.
        sha256: Option<String>,
        /// How many names it has, and its inode number, by which the others are found.
        links: u64,
        inode: u64,
    },
    /// A symlink.
    Link { attrs: Attrs, to: Bytes },
    /// A directory, whatever is in it.
    Directory { attrs: Attrs },
    /// A device, FIFO or socket.
    Special { attrs: Attrs, device: u64 },
}

impl State {
    /// All but its content.
    pub(crate) fn attrs(&self) -> Option<&Attrs> {
        match self {
            Self::Absent => None,
            Self::File { attrs, .. }
            | Self::Link { attrs, .. }
            | Self::Directory { attrs }
            | Self::Special { attrs, .. } => Some(attrs),
        }
    }

    /// The same with other attributes.
    pub(crate) fn with_attrs(&self, new: Attrs) -> Self {
        let mut state = self.clone();
        match &mut state {
            Self::Absent => {}
            Self::File { attrs, .. }
            | Self::Link { attrs, .. }
            | Self::Directory { attrs }
            | Self::Special { attrs, .. } => *attrs = new,
        }
        state
    }

    /// Whether it is the same to whoever reads it: times and the number of its names are left out.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same_attrs = match (self.attrs(), other.attrs()) {
            (Some(one), Some(other)) => one.is_like(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_attrs && self.is_alike_but_for_attrs(other)
    }

    /// Whether it is the same but for owner, mode and extended attributes.
    pub(crate) fn is_alike_but_for_attrs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) | (Self::Directory { .. }, Self::Directory { .. }) => true,
            (Self::File { sha256: one, .. }, Self::File { sha256: other, .. }) => {
                one.is_none() || other.is_none() || one == other
            }
            (Self::Link { to: one, .. }, Self::Link { to: other, .. }) => one == other,
            (
                Self::Special { device: one, attrs },
                Self::Special {
                    device,
                    attrs: others,
                },
            ) => one == device && attrs.kind == others.kind,
            (
                Self::Absent
                | Self::File { .. }
                | Self::Link { .. }
                | Self::Directory { .. }
                | Self::Special { .. },
                _,
            ) => false,
        }
    }
}
