//! lxcfs: a FUSE file system of the host whose copies of files of `/proc` show what the reader's cgroups allow (lxcfs(1)).
//! repot uses one that runs; it starts none.

use crate::cgroup::unescape;
use std::path::{Path, PathBuf};

/// Where packages mount it: the distributions' own, Incus', LXD's.
const PLACES: &[&str] = &[
    "/var/lib/lxcfs",
    "/var/lib/incus-lxcfs",
    "/var/snap/lxd/common/var/lib/lxcfs",
];

/// The files that are shown in place of the kernel's.
const FILES: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
];

/// The files of the lxcfs that is mounted here, at `$REPOT_LXCFS` if that is set. Empty: there is none, or it has died.
pub fn lxcfs_files() -> Vec<PathBuf> {
    let named = std::env::var_os("REPOT_LXCFS").map(PathBuf::from);
    let places: Vec<PathBuf> = match named {
        Some(place) => vec![place],
        None => PLACES.iter().map(PathBuf::from).collect(),
    };
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(place) = places.iter().find(|place| is_mounted(&mountinfo, place)) else {
        return Vec::new();
    };
    FILES
        .iter()
        .map(|name| place.join("proc").join(name))
        // Nothing can be found below a FUSE whose server has gone (ENOTCONN).
        .filter(|path| path.exists())
        .collect()
}

/// Whether an lxcfs is mounted there: its directory exists also while it is not.
fn is_mounted(mountinfo: &str, place: &Path) -> bool {
    mountinfo.lines().any(|line| {
        // proc_pid_mountinfo(5): the mount point is field 5, the type the first after the dash.
        let Some((left, right)) = line.split_once(" - ") else {
            return false;
        };
        right.starts_with("fuse.lxcfs ")
            && left
                .split(' ')
                .nth(4)
                .is_some_and(|at| Path::new(&unescape(at)) == place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mounted_lxcfs_counts() {
        let mountinfo = "44 27 0:41 / /var/lib/lx\\040cfs rw,nosuid - fuse.lxcfs lxcfs rw,allow_other\n\
            45 27 0:42 / /srv rw - ext4 /dev/vda rw\n";
        assert!(is_mounted(mountinfo, Path::new("/var/lib/lx cfs")));
        assert!(!is_mounted(mountinfo, Path::new("/var/lib")));
        assert!(!is_mounted(mountinfo, Path::new("/srv")));
    }
}
