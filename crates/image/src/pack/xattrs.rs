//! Extended attributes, read from files of any kind.

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// Names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Attributes of what cannot be opened. There is no getxattrat(2) before Linux 6.13: see `unpack::attrs`.
pub(super) fn node_xattrs(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<Xattrs> {
    let mut magic = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    magic.extend_from_slice(name);
    collect_xattrs(
        |buffer| rustix::fs::llistxattr(&magic[..], buffer),
        |xattr, buffer| rustix::fs::lgetxattr(&magic[..], xattr, buffer),
    )
}

pub(super) fn fd_xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<Xattrs> {
    collect_xattrs(
        |buffer| rustix::fs::flistxattr(fd, buffer),
        |name, buffer| rustix::fs::fgetxattr(fd, name, buffer),
    )
}

/// Names and values, sorted.
fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Xattrs> {
    // Most files have none: asked with a small buffer first. The kernel's limit is 64 KiB for both.
    let mut names = [0; 1024];
    let names = match list(&mut names) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(count) => names[..count].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0; 1 << 16];
            let count = list(&mut names)?;
            names.truncate(count);
            names
        }
        Err(errno) => return Err(errno),
    };
    let mut out = Vec::new();
    let mut value = vec![0; 1 << 16];
    for name in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        match get(name, &mut value) {
            Ok(count) => out.push((name.to_vec(), value[..count].to_vec())),
            // Gone, or not for us to read (`trusted.`).
            Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    out.sort();
    Ok(out)
}
