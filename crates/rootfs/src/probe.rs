//! What the host's kernel says of a tree beyond stat(2): extended attributes, mounts below it, a read-only file system.

use crate::beneath::{self, Follow};
use crate::{Error, Result, RootRead};
use rustix::fs::{AtFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

impl RootRead {
    /// Whether a regular file has the extended attribute `name`, such as `security.capability`. A file system without attributes
    /// has none.
    ///
    /// # Errors
    /// As [`Self::open_file`].
    pub fn has_xattr(&self, path: &str, name: &str) -> Result<bool> {
        let (file, _) = self.open_file(path)?;
        let mut none: [u8; 0] = [];
        match rustix::fs::fgetxattr(&file, name, &mut none) {
            Ok(_) | Err(Errno::RANGE) => Ok(true),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
            Err(errno) => Err(Error::from_errno(path, errno)),
        }
    }

    /// Whether something is mounted at `path`. Before Linux 5.8 it is told from the device number, by which a bind mount of the same
    /// file system is not seen.
    ///
    /// # Errors
    /// As [`Self::metadata`].
    ///
    /// # Source
    /// statx(2), `STATX_ATTR_MOUNT_ROOT`.
    pub fn is_mount_point(&self, path: &str) -> Result<bool> {
        let look = |path: &str| {
            let handle = beneath::lookup(self.handle_of_root(), path, Follow::No)?;
            rustix::fs::statx(&handle, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
                .map_err(|errno| Error::from_errno(path, errno))
        };
        let found = look(path)?;
        if found
            .stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
        {
            return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        }
        let device = |found: &rustix::fs::Statx| (found.stx_dev_major, found.stx_dev_minor);
        Ok(device(&found) != device(&look("/")?))
    }

    /// Whether the file system that holds the tree, or its mount, is read-only.
    ///
    /// # Errors
    /// As [`Self::metadata`].
    pub fn is_read_only(&self) -> Result<bool> {
        let handle = beneath::lookup(self.handle_of_root(), "/", Follow::Yes)?;
        rustix::fs::fstatvfs(&handle)
            .map(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
            .map_err(|errno| Error::from_errno("/", errno))
    }
}

#[cfg(test)]
mod tests {
    use crate::RootRead;
    use std::path::Path;

    #[test]
    fn attributes_and_mounts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let root = RootRead::open(dir.path()).unwrap();
        assert!(!root.has_xattr("/file", "security.capability").unwrap());
        assert!(root.has_xattr("/nothing", "user.x").is_err());
        assert!(!root.is_mount_point("/proc").unwrap());
        assert!(!root.is_read_only().unwrap());
        // The host is a tree as well, with procfs where it belongs.
        let host = RootRead::open(Path::new("/")).unwrap();
        assert!(host.is_mount_point("/proc").unwrap());
        let proc = RootRead::open(Path::new("/proc")).unwrap();
        assert!(!proc.is_mount_point("/self").unwrap_or(false));
    }
}
