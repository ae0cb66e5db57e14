//! Bind mounts by path, for kernels that cannot hand a detached mount over (open_tree(2) and move_mount(2) came with Linux
//! 5.2, mount_setattr(2) with 5.12). They end up with the flags that the parent would have set.

use super::Instead;
use crate::idmap::MountKind;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Binds it at a path in the staging directory, which is the working directory.
///
/// # Errors
/// As mount(2). A mount that could not be made read-only is an error.
pub(super) fn bind(instead: &Instead, at: &CStr) -> Result<(), Errno> {
    match instead.kind {
        MountKind::Layer => {
            rustix::mount::mount_bind(&instead.path, at)?;
            // With no flag of nosuid, nodev, noexec, as a tree below /tmp needs it.
            let flags = match instead.read_only {
                true => MountFlags::BIND | MountFlags::RDONLY,
                false => MountFlags::BIND,
            };
            match rustix::mount::mount_remount(at, flags, c"") {
                // Locked by a namespace with more privilege (mount_namespaces(7)), as a home on a file system that is mounted so
                // is: then it stays as restricted as it is.
                Err(Errno::PERM) if !instead.read_only => Ok(()),
                Err(Errno::PERM) => make_read_only(at),
                other => other,
            }
        }
        MountKind::Bind => {
            rustix::mount::mount_bind_recursive(&instead.path, at)?;
            if instead.read_only {
                make_read_only(at)?;
            }
            Ok(())
        }
    }
}

/// Makes the mount at a path and those below it read-only, one by one (mount(2), "Remounting an existing mount").
fn make_read_only(at: &CStr) -> Result<(), Errno> {
    let here = rustix::process::getcwd(Vec::new())?;
    let top = Path::new(std::ffi::OsStr::from_bytes(here.to_bytes()))
        .join(std::ffi::OsStr::from_bytes(at.to_bytes()));
    let mountinfo = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for (path, flags) in mounts_below(&mountinfo, &top) {
        let flags = MountFlags::BIND | MountFlags::RDONLY | flags;
        rustix::mount::mount_remount(path, flags, c"")?;
    }
    Ok(())
}

/// The mount points from `top` on in a `/proc/self/mountinfo`, with the flags that a remount has to repeat so as not to clear
/// them (proc_pid_mountinfo(5), fields 5 and 6).
fn mounts_below(mountinfo: &[u8], top: &Path) -> Vec<(PathBuf, MountFlags)> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(4);
            let path = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
            path.starts_with(top).then_some(())?;
            let flags = fields
                .next()?
                .split(|byte| *byte == b',')
                .map(|option| match option {
                    b"nosuid" => MountFlags::NOSUID,
                    b"nodev" => MountFlags::NODEV,
                    b"noexec" => MountFlags::NOEXEC,
                    b"noatime" => MountFlags::NOATIME,
                    b"nodiratime" => MountFlags::NODIRATIME,
                    b"relatime" => MountFlags::RELATIME,
                    _ => MountFlags::empty(),
                })
                .collect();
            Some((path, flags))
        })
        .collect()
}

/// Blanks, newlines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_path_keep_their_flags() {
        let mountinfo = b"22 27 0:21 / /s/bind rw,nosuid,relatime - ext4 /dev/x rw\n\
            23 22 0:22 / /s/bind/a\\040b rw,nodev,noexec shared:3 - tmpfs none rw\n\
            24 22 0:23 / /s/binder rw - tmpfs none rw\n\
            25 22 0:24 / / rw - ext4 none rw\n";
        assert_eq!(
            mounts_below(mountinfo, Path::new("/s/bind")),
            [
                (
                    PathBuf::from("/s/bind"),
                    MountFlags::NOSUID | MountFlags::RELATIME
                ),
                (
                    PathBuf::from("/s/bind/a b"),
                    MountFlags::NODEV | MountFlags::NOEXEC
                ),
            ]
        );
    }
}
