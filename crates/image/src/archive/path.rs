//! Names of archive members: checked once, here, and afterwards only resolved beneath a directory handle.

use crate::error::Refusal;

/// `NAME_MAX`.
const MAX_COMPONENT: usize = 255;
/// `PATH_MAX` without the final NUL. A longer path could be created step by step but not be named afterwards.
const MAX_PATH: usize = 4095;

/// A relative path without empty, `.` and `..` components. Empty for the tree's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberPath(Vec<u8>);

impl MemberPath {
    /// Checks a name as it stands in the archive.
    pub(crate) fn parse(name: &[u8]) -> Result<Self, Refusal> {
        if name.is_empty() {
            return Err(Refusal::NoName);
        }
        if name.contains(&0) {
            return Err(Refusal::Nul);
        }
        if name.starts_with(b"/") {
            return Err(Refusal::Absolute);
        }
        let mut path = Vec::with_capacity(name.len());
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(Refusal::ParentDir),
                _ if part.len() > MAX_COMPONENT => {
                    return Err(Refusal::NameTooLong {
                        limit: MAX_COMPONENT,
                        of: "component",
                    });
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if path.len() > MAX_PATH {
            return Err(Refusal::NameTooLong {
                limit: MAX_PATH,
                of: "path",
            });
        }
        Ok(Self(path))
    }

    /// A path that was made of checked parts.
    pub(crate) fn from_checked(path: &[u8]) -> Self {
        Self(path.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root of the tree.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Parent directory and last component. The root has itself as parent and `.` as name.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        if self.0.is_empty() {
            return (b"", b".");
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (b"", &self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        for (name, path) in [
            ("./", ""),
            (".", ""),
            ("./etc/", "etc"),
            ("etc//./passwd", "etc/passwd"),
            ("a\nb", "a\nb"),
            ("...", "..."),
        ] {
            let parsed = MemberPath::parse(name.as_bytes()).unwrap();
            assert_eq!(parsed.as_bytes(), path.as_bytes(), "{name}");
        }
        for (name, reason) in [
            (&b""[..], Refusal::NoName),
            (b"/etc/passwd", Refusal::Absolute),
            (b"//etc", Refusal::Absolute),
            (b"..", Refusal::ParentDir),
            (b"a/../b", Refusal::ParentDir),
            (b"a/..", Refusal::ParentDir),
            (b"a\0b", Refusal::Nul),
        ] {
            assert_eq!(MemberPath::parse(name).unwrap_err(), reason);
        }
        assert!(MemberPath::parse(&b"a/".repeat(2048)).is_ok());
        assert!(MemberPath::parse(&b"a/".repeat(10_000)).is_err());
        assert!(MemberPath::parse(&[b'a'; 256]).is_err());
        assert!(MemberPath::parse(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn split_takes_the_last_component() {
        let split = |name: &str| {
            let path = MemberPath::parse(name.as_bytes()).unwrap();
            let (parent, name) = path.split();
            (parent.to_vec(), name.to_vec())
        };
        assert_eq!(split("a/b/c"), (b"a/b".to_vec(), b"c".to_vec()));
        assert_eq!(split("a"), (b"".to_vec(), b"a".to_vec()));
        assert_eq!(split("."), (b"".to_vec(), b".".to_vec()));
    }
}
