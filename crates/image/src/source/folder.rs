//! Directories that are neither a root file system nor an image of layers, but hold one file with a root file system beside files
//! about it: what LXD, Incus and LXC call a split image, and an archive with its `.nspawn` file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What such a root file system is called. The first is also how distributions publish it.
const ROOTS: [&str; 2] = ["rootfs.tar", "rootfs.squashfs"];
/// What tells that it is one part of an image (LXD documentation, "Image format"; lxc `templates/lxc-local.in`).
const METADATA: [&str; 4] = ["metadata.tar", "meta.tar", "lxd.tar", "incus.tar"];

/// The one file in `dir` that is a root file system, if that is what the directory is for.
pub(super) fn root_of(dir: &Path) -> io::Result<Option<PathBuf>> {
    /// Files in an image: a home directory is none.
    const MAX: usize = 64;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)?.take(MAX) {
        let entry = entry?;
        // Followed, since people link to what they have downloaded.
        let is_file = fs::metadata(entry.path()).is_ok_and(|found| found.is_file());
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.push(name);
        }
    }
    Ok(pick(&names).map(|name| dir.join(name)))
}

fn pick(names: &[String]) -> Option<&String> {
    let begins = |name: &str, with: &[&str]| {
        with.iter().any(|start| {
            let rest = name.strip_prefix(start);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let settings = names.iter().find_map(|name| name.strip_suffix(".nspawn"));
    let is_root = |name: &&String| match settings {
        Some(machine) => begins(
            name,
            &[&format!("{machine}.tar"), &format!("{machine}.raw")],
        ),
        None => begins(name, &ROOTS),
    };
    let is_image = settings.is_some() || names.iter().any(|name| begins(name, &METADATA));
    let mut roots = names.iter().filter(is_root);
    match (is_image, roots.next(), roots.next()) {
        (true, Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_with_the_tree_is_picked() {
        let picked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
            pick(&names).cloned()
        };
        for (names, expected) in [
            (&["metadata.tar.gz", "rootfs.tar.gz"][..], "rootfs.tar.gz"),
            (&["metadata.tar", "rootfs.squashfs"], "rootfs.squashfs"),
            (&["lxd.tar.xz", "rootfs.squashfs"], "rootfs.squashfs"),
            (&["meta.tar.xz", "rootfs.tar.xz"], "rootfs.tar.xz"),
            (&["web.nspawn", "web.tar.gz", "other.tar"], "web.tar.gz"),
        ] {
            assert_eq!(picked(names).as_deref(), Some(expected), "{names:?}");
        }
        for names in [
            &["rootfs.tar"][..],
            &["metadata.tar", "rootfs.tar", "rootfs.squashfs"],
            &["metadata.tar", "rootfsish.tar"],
            &["web.nspawn", "rootfs.tar"],
        ] {
            assert_eq!(picked(names), None, "{names:?}");
        }
    }
}
