//! Names of images: the SHA-256 of what they were made from.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// 64 hexadecimal digits: the SHA-256 of the archive's bytes, as they were read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    pub(crate) fn from_sha256(digest: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in digest {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Self(text)
    }

    /// Reads a full id.
    ///
    /// # Errors
    /// [`Error::NoImage`] if it is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && is_prefix(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::NoImage(text.to_owned()))
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// Whether an id could begin like this.
pub(crate) fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ImageId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal() {
        let id = ImageId::from_sha256(&[0xa5; 32]);
        assert_eq!(id.as_str(), "a5".repeat(32));
        assert_eq!(ImageId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.short(), "a5a5a5a5a5a5");
        for bad in ["", "a5", "../../etc", &"A5".repeat(32), &"a5".repeat(33)] {
            assert!(ImageId::parse(bad).is_err(), "{bad}");
        }
    }
}
