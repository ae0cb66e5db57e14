//! Checked names: of machines, and of the inits that repot knows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A machine's name: a host name label set, as machinectl and LXD demand. Safe as a file name and in a cgroup path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// Why a machine name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("machine name {name:?} is not valid: {why}")]
pub struct NameError {
    /// The name as given.
    pub name: String,
    /// The rule it breaks.
    pub why: &'static str,
}

impl MachineName {
    /// Checks a name: 1 to 64 of `a-z A-Z 0-9 . - _`, beginning with a letter or digit, no `..`.
    ///
    /// # Errors
    /// [`NameError`] with the rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let bad = |why| {
            Err(NameError {
                name: name.to_owned(),
                why,
            })
        };
        if name.is_empty() || name.len() > 64 {
            return bad("it must have 1 to 64 characters");
        }
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return bad("it must begin with a letter or digit");
        }
        if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        {
            return bad("only letters, digits, '.', '-' and '_' are allowed");
        }
        if name.contains("..") {
            return bad("'..' is not allowed");
        }
        Ok(Self(name.to_owned()))
    }

    /// The nearest valid name to a file name: extensions of archives dropped, other characters replaced by `-`.
    pub fn from_file_name(file_name: &str) -> Self {
        const EXTENSIONS: &[&str] = &[
            ".tar",
            ".tgz",
            ".txz",
            ".tzst",
            ".tbz2",
            ".tbz",
            ".gz",
            ".xz",
            ".zst",
            ".zstd",
            ".bz2",
            ".img",
            ".raw",
            ".squashfs",
            ".sqfs",
            ".iso",
        ];
        let mut stem = file_name;
        while let Some(shorter) = EXTENSIONS
            .iter()
            .find_map(|extension| stem.strip_suffix(extension))
        {
            stem = shorter;
        }
        let mut name: String = stem
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        while name.contains("..") {
            name = name.replace("..", ".");
        }
        let name: String = name
            .trim_matches(|c: char| !c.is_ascii_alphanumeric())
            .chars()
            .take(56)
            .collect();
        Self(if name.is_empty() {
            "machine".to_owned()
        } else {
            name
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl std::str::FromStr for MachineName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// The identity of an init system: the name of the file in `doctor/src/init/` that knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InitId(pub String);

impl fmt::Display for InitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_names() {
        for (file, name) in [
            ("debian-12.tar.xz", "debian-12"),
            ("rootfs.tgz", "rootfs"),
            ("a b.tar", "a-b"),
            ("..", "machine"),
            (".hidden", "hidden"),
            ("x..y", "x.y"),
        ] {
            assert_eq!(MachineName::from_file_name(file).as_str(), name);
            assert!(MachineName::new(name).is_ok());
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "a/b", "../x", "-a", "a..b", "ü", &"x".repeat(65)] {
            assert!(MachineName::new(name).is_err(), "{name}");
        }
    }
}
