//! A recipe: everything that decides what a tree holds, as plain data, and its hash.
//!
//! The hash names the directory in the cache, so a changed recipe is a new tree and an old
//! one is never taken for it. It covers the recipe, the recipes it is derived from and the
//! edits that all trees get. What Debian's archive holds today is not part of it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{PASSWORD_HASH, Root};

/// Raise it when the way of building changes in a manner that the recipes do not show.
const GENERATION: &str = "repot-e2e recipe 1";

/// What a tree starts from, before its edit.
#[derive(Debug, Clone, Copy)]
pub enum Base {
    /// A minimal Debian (`minbase`) with these packages, installed and configured.
    Debian {
        suite: &'static str,
        packages: &'static [&'static str],
    },
    /// These packages and what they depend on, unpacked but not configured.
    Extract {
        suite: &'static str,
        packages: &'static [&'static str],
    },
    /// The same of another architecture, as Debian calls it. Nothing of them is run.
    Foreign {
        suite: &'static str,
        architecture: &'static str,
        packages: &'static [&'static str],
    },
    /// A copy of another tree.
    Copy { of: &'static str },
    /// The same, for an edit that takes something from a third one (`$FROM`).
    Graft {
        of: &'static str,
        from: &'static str,
    },
    /// Nothing: the edit takes what it wants from another tree (`$FROM`).
    Assemble { from: &'static str },
}

/// What a tree is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Tests boot machines of it.
    Tree,
    /// Tests run programs of it on the host.
    Programs,
    /// The test of a rule boots machines of it; it has the fault that the rule is about.
    Broken,
    /// Other recipes are made of it.
    Part,
}

/// One tree.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    pub name: &'static str,
    /// One line for `repot-trees list`.
    pub about: &'static str,
    pub base: Base,
    /// Shell commands, run in the new tree's root directory (`$ROOT`) by the host's shell.
    pub edit: &'static str,
    /// Shell commands that give root the password whose hash is `$HASH`.
    pub unlock: &'static str,
    pub visibility: Visibility,
}

/// For [`Recipe::unlock`]: how nearly every distribution stores it.
pub const UNLOCK_SHADOW: &str = r#"
sed -i "s|^root:[^:]*:|root:$HASH:|" etc/shadow
grep -qF "$HASH" etc/shadow
"#;

/// What each tree made by mmdebstrap gets before its own edit. mmdebstrap copies the host's
/// name and resolver into the tree, and keeps the apt option about stale mirrors.
pub const DEBIAN_EDIT: &str = r#"
printf '%s\n' "$NAME" > etc/hostname
rm -f etc/resolv.conf etc/apt/apt.conf.d/99mmdebstrap
printf '# no resolver yet\n' > etc/resolv.conf
"#;

/// The recipe of that name.
pub fn find(name: &str) -> Result<&'static Recipe> {
    super::all()
        .find(|recipe| recipe.name == name)
        .with_context(|| {
            let known: Vec<_> = super::recipes().map(|recipe| recipe.name).collect();
            format!("no tree is called {name}; there are {}", known.join(", "))
        })
}

/// The recipe in full, as it is hashed, and as it is kept beside the tree for people.
pub fn describe(recipe: &Recipe, root: Root) -> Result<String> {
    let mut text = format!("{GENERATION}\nname {}\n", recipe.name);
    match recipe.base {
        Base::Debian { suite, packages } => {
            let _ = writeln!(
                text,
                "debian {suite} {}\ncommon edit {DEBIAN_EDIT}",
                packages.join(",")
            );
        }
        Base::Extract { suite, packages } => {
            let _ = writeln!(
                text,
                "extract {suite} {}\ncommon edit {DEBIAN_EDIT}",
                packages.join(",")
            );
        }
        Base::Foreign {
            suite,
            architecture,
            packages,
        } => {
            let _ = writeln!(
                text,
                "extract {suite} {architecture} {}\ncommon edit {DEBIAN_EDIT}",
                packages.join(",")
            );
        }
        Base::Copy { of } => {
            let _ = writeln!(text, "copy of {of} {}", hash(find(of)?, Root::Locked)?);
        }
        Base::Graft { of, from } => {
            let _ = writeln!(
                text,
                "copy of {of} {} with {from} {}",
                hash(find(of)?, Root::Locked)?,
                hash(find(from)?, Root::Locked)?
            );
        }
        Base::Assemble { from } => {
            let _ = writeln!(
                text,
                "assembled from {from} {}",
                hash(find(from)?, Root::Locked)?
            );
        }
    }
    let _ = writeln!(text, "edit {}", recipe.edit);
    match root {
        Root::Locked => {}
        Root::Password => {
            let _ = writeln!(
                text,
                "root unlocked with {PASSWORD_HASH} by {}",
                recipe.unlock
            );
        }
    }
    Ok(text)
}

/// The first twelve hex digits of the SHA-256 of [`describe`].
pub fn hash(recipe: &Recipe, root: Root) -> Result<String> {
    let mut digest = crate::digest::hex(&Sha256::digest(describe(recipe, root)?));
    digest.truncate(12);
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe {
        name: "example",
        about: "for the test",
        base: Base::Debian {
            suite: "bookworm",
            packages: &["hello", "hostname"],
        },
        edit: "true",
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    };

    #[test]
    fn the_hash_is_stable() {
        // If this changes, every tree in every cache is built anew: on purpose only.
        assert_eq!(hash(&RECIPE, Root::Locked).unwrap(), "1b1c6ade9f1c");
    }

    #[test]
    fn the_hash_covers_packages_edit_and_password_but_not_the_description() {
        let before = hash(&RECIPE, Root::Locked).unwrap();
        let base = Base::Debian {
            suite: "bookworm",
            packages: &["hello"],
        };
        assert_ne!(
            before,
            hash(&Recipe { base, ..RECIPE }, Root::Locked).unwrap()
        );
        assert_ne!(
            before,
            hash(
                &Recipe {
                    edit: "false",
                    ..RECIPE
                },
                Root::Locked
            )
            .unwrap()
        );
        assert_ne!(before, hash(&RECIPE, Root::Password).unwrap());
        assert_eq!(
            before,
            hash(
                &Recipe {
                    about: "other",
                    ..RECIPE
                },
                Root::Locked
            )
            .unwrap()
        );
    }
}
