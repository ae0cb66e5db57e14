//! A tree that boots nothing: Debian's minimal set, as application images have it.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

/// Debian 12's `minbase` holds no init.
pub const RECIPES: [Recipe; 1] = [Recipe {
    name: "bookworm-noinit",
    about: "Debian 12 without any init",
    base: Base::Debian {
        suite: "bookworm",
        packages: &[],
    },
    edit: "test ! -e sbin/init",
    unlock: UNLOCK_SHADOW,
    visibility: Visibility::Tree,
}];
