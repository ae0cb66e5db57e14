//! Keeps a machine without a user namespace from making the host's file systems read-only.
//!
//! `mount -o remount,ro` acts on a whole file system, wherever else it is mounted, and inits call it as a matter of course: at
//! shutdown on `/`, which is the host's own with `--in-place`; at boot Debian's sysvinit mounts `/sys` again as it finds it, which
//! is read-only, and with the host's network that is the host's sysfs. A file that is open for writing stands in the way (mount(2),
//! `EBUSY`). It is no wall: such a machine may do worse if it wants to.

use crate::cgroup;
use repot_model::{BootSpec, IdMap, Network, Overlay};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One of sysfs in each network namespace. Opening it does nothing.
const SYSFS: &str = "/sys/class/net/lo/mtu";

/// Files that are open for writing, for as long as the machine runs.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    _files: Vec<OwnedFd>,
}

impl Pins {
    /// One in each file system of the host that the machine gets hold of. Where none can be opened, the machine does without.
    pub(crate) fn of(spec: &BootSpec) -> Self {
        // In a user namespace the kernel asks for privileges over the file system's own (fs/namespace.c, `do_remount`).
        if !matches!(spec.idmap, IdMap::Host { .. }) {
            return Self::default();
        }
        let mut files: Vec<OwnedFd> = spec
            .binds
            .iter()
            .map(|bind| bind.host_path.as_path())
            .chain((spec.root.overlay == Overlay::InPlace).then_some(spec.root.base.as_path()))
            // Whose nodes are bound into the machine's.
            .chain([Path::new("/dev")])
            .flat_map(mounts_of)
            .filter_map(|place| unnamed_file(&place))
            .collect();
        if spec.network == Network::Host {
            files.extend(rustix::fs::open(
                SYSFS,
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            ));
        }
        let own_pid = rustix::process::getpid().as_raw_nonzero().get();
        files.extend(
            cgroup::procs_files_of(own_pid)
                .into_iter()
                .map(OwnedFd::from),
        );
        Self { _files: files }
    }
}

/// A directory and what is mounted below it; the directory of a file.
fn mounts_of(path: &Path) -> BTreeSet<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut places = mount_points_below(&text, path);
    let dir = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    places.extend(dir.map(Path::to_owned));
    places
}

fn mount_points_below(mountinfo: &str, path: &Path) -> BTreeSet<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(cgroup::unescape(field)))
        .filter(|point| point.starts_with(path))
        .collect()
}

/// A file without a name (open(2), `O_TMPFILE`), so that nothing is to be seen of it.
fn unnamed_file(dir: &Path) -> Option<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_counts_too() {
        let text = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /srv/a rw - ext4 /dev/b rw\n\
            3 2 8:3 / /srv/a/x\\040y rw - ext4 /dev/c rw\n4 1 8:4 / /srv/ab rw - ext4 /dev/d rw\n";
        let found = mount_points_below(text, Path::new("/srv/a"));
        let expected = ["/srv/a", "/srv/a/x y"].map(PathBuf::from);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_pin_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let pin = unnamed_file(dir.path());
        assert!(pin.is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
