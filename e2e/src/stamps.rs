//! Whether a tree is still the same, without reading it: what stat(2) tells of each entry.
//!
//! The kernel sets the change time of whatever is written, renamed, linked, or given another mode, owner or attribute, of the
//! directory too that something is made in, and nobody can set it back (inode(7)). So this sees all that
//! [`crate::digest`] does, in a hundredth of its time, but only on the tree itself: a copy has other times.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A tree at one time, by path. As texts: paths are compared part by part, which takes longer than all the rest.
#[derive(Debug)]
pub struct Stamps(BTreeMap<OsString, Stamp>);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// Device, inode, mode, links, owner, group, device number, size.
    fields: [u64; 8],
    /// Change and modification time.
    times: [i64; 4],
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        Stamp {
            fields: [
                meta.dev(),
                meta.ino(),
                u64::from(meta.mode()),
                meta.nlink(),
                u64::from(meta.uid()),
                u64::from(meta.gid()),
                meta.rdev(),
                meta.size(),
            ],
            times: [
                meta.ctime(),
                meta.ctime_nsec(),
                meta.mtime(),
                meta.mtime_nsec(),
            ],
        }
    }
}

impl Stamps {
    /// Looks at a tree.
    ///
    /// # Errors
    /// Something of it cannot be looked at.
    pub fn of(root: &Path) -> Result<Stamps> {
        let meta = fs::symlink_metadata(root);
        let meta = meta.with_context(|| format!("looking at {}", root.display()))?;
        let mut found = BTreeMap::from([(root.into(), Stamp::of(&meta))]);
        let mut todo = vec![root.to_owned()];
        while let Some(dir) = todo.pop() {
            let listing = || format!("listing {}", dir.display());
            for entry in fs::read_dir(&dir).with_context(listing)? {
                let entry = entry.with_context(listing)?;
                let meta = entry.metadata().with_context(listing)?;
                if meta.is_dir() {
                    todo.push(entry.path());
                }
                found.insert(entry.path().into(), Stamp::of(&meta));
            }
        }
        Ok(Stamps(found))
    }

    /// The paths that are other ones now, are new, or are gone.
    #[must_use]
    pub fn changed(&self, now: &Stamps) -> Vec<PathBuf> {
        let all = self.0.keys().chain(now.0.keys());
        let mut changed: Vec<PathBuf> = all
            .filter(|path| self.0.get(*path) != now.0.get(*path))
            .map(PathBuf::from)
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn changes(change: impl FnOnce(&Path)) -> Vec<PathBuf> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/hostname"), "oak\n").unwrap();
        let before = Stamps::of(dir.path()).unwrap();
        // The kernel's clock for these times may tick in hundredths of a second.
        let mut looks = 0;
        crate::process::until(
            "a moment has passed",
            std::time::Duration::from_secs(60),
            || {
                looks += 1;
                Ok(looks > 2)
            },
        )
        .unwrap();
        change(dir.path());
        let changed = before.changed(&Stamps::of(dir.path()).unwrap());
        let below = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
        changed.iter().map(below).collect()
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        assert!(changes(|_| ()).is_empty());
        assert!(changes(|root| drop(fs::read(root.join("etc/hostname")).unwrap())).is_empty());
        let hostname = [PathBuf::from("etc/hostname")];
        assert_eq!(
            changes(|root| {
                // As large, and with the time that it had.
                let path = root.join("etc/hostname");
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                fs::write(&path, "elm\n").unwrap();
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(modified).unwrap();
            }),
            hostname
        );
        assert_eq!(
            changes(|root| {
                let mode = Permissions::from_mode(0o600);
                fs::set_permissions(root.join("etc/hostname"), mode).unwrap();
            }),
            hostname
        );
        assert_eq!(
            changes(|root| fs::write(root.join("etc/new"), "").unwrap()),
            [PathBuf::from("etc"), PathBuf::from("etc/new")]
        );
        assert_eq!(
            changes(|root| fs::remove_file(root.join("etc/hostname")).unwrap()),
            [PathBuf::from("etc"), PathBuf::from("etc/hostname")]
        );
        assert_eq!(
            changes(|root| {
                rustix::fs::lsetxattr(
                    root.join("etc"),
                    "user.note",
                    b"x",
                    rustix::fs::XattrFlags::empty(),
                )
                .unwrap();
            }),
            [PathBuf::from("etc")]
        );
    }
}
