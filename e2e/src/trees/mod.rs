//! Real root file systems for tests, built from Debian's packages and kept in a cache.
//!
//! A recipe is a piece of data ([`Recipe`]); its family's file lists it. A [`Tree`] is a
//! recipe plus the choice whether root is locked, as the packages leave it, or has the
//! password [`PASSWORD`]. Trees are built once per machine and recipe, outside the work
//! tree, and must never be changed afterwards: tests boot them on a layer of their own or
//! on a copy, and [`crate::digest`] shows that they did.

mod broken;
mod build;
mod busybox;
mod cache;
mod finit;
mod foreign;
mod guix;
mod incus;
mod openrc;
mod plain;
mod recipe;
mod runit;
mod s6;
mod systemd;
mod sysvinit;
mod tarball;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use recipe::{Base, Recipe, Visibility};
pub use tarball::Compression;

/// The password of root in every tree made [`Tree::with_password`].
pub const PASSWORD: &str = "repot";

/// `crypt(3)` of [`PASSWORD`] with SHA-512, which every libc in the trees knows. A constant,
/// so that the tree's content does not depend on a random salt.
pub const PASSWORD_HASH: &str = "$6$repotrepotrepot1$RC/SxLeJThK5EHsXz1QmeW51pTJAfBvTdo/VLNkJF3cGsWQfOntXkgjT.RhUBHKBTdg055bUsAQsv9lsHJh.1.";

/// Every family's recipes, in the order in which they are worth building.
const FAMILIES: [&[Recipe]; 12] = [
    &systemd::RECIPES,
    &sysvinit::RECIPES,
    &busybox::RECIPES,
    &openrc::RECIPES,
    &runit::RECIPES,
    &finit::RECIPES,
    &s6::RECIPES,
    &plain::RECIPES,
    &guix::RECIPES,
    &incus::RECIPES,
    &broken::RECIPES,
    &foreign::RECIPES,
];

/// All recipes, those that only serve as parts of others included.
pub fn all() -> impl Iterator<Item = &'static Recipe> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The recipes of trees that tests boot.
pub fn recipes() -> impl Iterator<Item = &'static Recipe> {
    all().filter(|recipe| recipe.visibility == Visibility::Tree)
}

/// The recipes of trees that tests run programs of.
pub fn programs() -> impl Iterator<Item = &'static Recipe> {
    all().filter(|recipe| recipe.visibility == Visibility::Programs)
}

/// The recipes of trees that are broken as they are: the test of a rule boots machines of each.
pub fn broken() -> impl Iterator<Item = &'static Recipe> {
    all().filter(|recipe| recipe.visibility == Visibility::Broken)
}

/// Removes from the cache what no recipe of this source tree names any more: trees of
/// changed recipes and what interrupted builds left. Returns the removed paths.
///
/// # Errors
/// The cache cannot be listed, or something in it cannot be removed.
pub fn prune() -> Result<Vec<PathBuf>> {
    let lock = cache::Lock::acquire()?;
    let mut kept = vec![cache::dir().join("apt"), cache::dir().join("lock")];
    for recipe in all() {
        for root in [Root::Locked, Root::Password] {
            kept.push(Tree { recipe, root }.slot()?);
        }
    }
    cache::prune(&kept, &lock)
}

/// Whether root can log in with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// As the packages leave it: no password fits.
    Locked,
    /// Root's password is [`PASSWORD`].
    Password,
}

/// One root file system of the kit: a recipe, and how root is kept.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    recipe: &'static Recipe,
    root: Root,
}

impl Tree {
    /// The tree of that name, with root locked. Nothing is built yet.
    ///
    /// # Errors
    /// There is no recipe of that name.
    pub fn named(name: &str) -> Result<Tree> {
        let recipe = recipe::find(name)?;
        Ok(Tree {
            recipe,
            root: Root::Locked,
        })
    }

    /// The same tree, but root's password is [`PASSWORD`].
    #[must_use]
    pub fn with_password(self) -> Tree {
        Tree {
            root: Root::Password,
            ..self
        }
    }

    /// What the tree is made from.
    #[must_use]
    pub fn recipe(&self) -> &'static Recipe {
        self.recipe
    }

    /// The name in the cache, without the hash: `bookworm-systemd`, `bookworm-systemd+password`.
    #[must_use]
    pub fn label(&self) -> String {
        match self.root {
            Root::Locked => self.recipe.name.to_owned(),
            Root::Password => format!("{}+password", self.recipe.name),
        }
    }

    /// The first twelve hex digits of the SHA-256 of everything the content follows from.
    ///
    /// # Errors
    /// The recipe names a base that does not exist.
    pub fn hash(&self) -> Result<String> {
        recipe::hash(self.recipe, self.root)
    }

    /// This tree's directory in the cache, built or not; tarballs stand in it too.
    ///
    /// # Errors
    /// The recipe names a base that does not exist.
    pub fn slot(&self) -> Result<PathBuf> {
        Ok(cache::dir().join(format!("{}-{}", self.label(), self.hash()?)))
    }

    /// Where the root directory is, or will be.
    ///
    /// # Errors
    /// The recipe names a base that does not exist.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(self.slot()?.join("rootfs"))
    }

    /// Whether [`Tree::ensure`] has nothing to do.
    ///
    /// # Errors
    /// The recipe names a base that does not exist.
    pub fn is_built(&self) -> Result<bool> {
        Ok(self.path()?.is_dir())
    }

    /// The root directory of the tree, which is built now unless it is in the cache.
    ///
    /// # Errors
    /// The build failed; the error carries the end of what the failed program said.
    pub fn ensure(&self) -> Result<PathBuf> {
        if !self.is_built()? {
            let lock = cache::Lock::acquire()?;
            build::build(*self, &lock)
                .with_context(|| format!("building the tree {}", self.label()))?;
        }
        self.path()
    }

    /// The tree as a tarball, made now unless it is in the cache. Owners are numeric and
    /// extended attributes included, so that nothing of the tree is lost.
    ///
    /// # Errors
    /// The tree cannot be built, or tar failed.
    pub fn tarball(&self, compression: Compression) -> Result<PathBuf> {
        let rootfs = self.ensure()?;
        tarball::pack(&rootfs, compression)
    }

    /// A copy of the tree that a test may change or spoil: `into` must not exist.
    ///
    /// # Errors
    /// The tree cannot be built, or cp failed.
    pub fn copy_to(&self, into: &Path) -> Result<()> {
        let rootfs = self.ensure()?;
        build::copy(&rootfs, into)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_bases_exist() {
        let mut names = BTreeSet::new();
        for recipe in all() {
            assert!(names.insert(recipe.name), "{} is listed twice", recipe.name);
            let tree = Tree::named(recipe.name).unwrap();
            assert_eq!(tree.hash().unwrap().len(), 12);
            assert_ne!(tree.hash().unwrap(), tree.with_password().hash().unwrap());
        }
    }

    #[test]
    fn unknown_names_are_told_with_the_known_ones() {
        let error = Tree::named("bookworm-upstart").unwrap_err().to_string();
        assert!(error.contains("bookworm-systemd"), "{error}");
    }

    #[test]
    fn parts_are_not_offered_as_trees() {
        assert!(recipes().count() < all().count());
        assert!(recipes().all(|recipe| recipe.visibility == Visibility::Tree));
    }
}
