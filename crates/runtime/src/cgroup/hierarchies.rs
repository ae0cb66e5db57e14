//! The cgroup hierarchies of this host: which are mounted where, and those that have to be mounted privately.

use crate::error::{At, Result};
use repot_model::CgroupVersion;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// A cgroup hierarchy that is mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) root: PathBuf,
    pub(super) is_v2: bool,
    /// v1: controllers, or `name=…`.
    pub(super) options: Vec<String>,
}

/// The hierarchies in a `/proc/self/mountinfo` (proc(5)). Only mounts that show a hierarchy from its root count.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let fs_type = right.next()?;
            let options = right.nth(1)?;
            let is_v2 = fs_type == "cgroup2";
            if !is_v2 && fs_type != "cgroup" {
                return None;
            }
            let mut left = left.split(' ').skip(3);
            let shown = left.next()?;
            let root = left.next()?;
            (shown == "/").then(|| Hierarchy {
                root: PathBuf::from(unescape(root)),
                is_v2,
                options: options.split(',').map(str::to_owned).collect(),
            })
        })
        .collect()
}

/// mountinfo writes blanks and backslashes as octal escapes.
pub(crate) fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| {
            text.replace(code, plain)
        })
}

/// The hierarchies that are mounted here.
pub(super) fn mounted() -> Result<Vec<Hierarchy>> {
    std::fs::read_to_string("/proc/self/mountinfo")
        .at("reading", "/proc/self/mountinfo")
        .map(|mountinfo| hierarchies(&mountinfo))
}

/// The `cgroup.procs` files of the cgroups that a process is in, where they can be reached from here.
pub(crate) fn procs_files_of(pid: i32) -> Vec<PathBuf> {
    let (Ok(mounted), Ok(membership)) = (
        mounted(),
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")),
    ) else {
        return Vec::new();
    };
    membership
        .lines()
        .filter_map(|line| {
            // cgroups(7), "/proc/[pid]/cgroup": hierarchy ID, controllers, path.
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_same = |hierarchy: &&Hierarchy| match controllers {
                "" => hierarchy.is_v2,
                names => {
                    !hierarchy.is_v2
                        && names
                            .split(',')
                            .all(|name| hierarchy.options.iter().any(|option| option == name))
                }
            };
            let hierarchy = mounted.iter().find(is_same)?;
            Some(
                hierarchy
                    .root
                    .join(path.trim_start_matches('/'))
                    .join("cgroup.procs"),
            )
        })
        .collect()
}

/// The names of the cgroups in a folder, in any hierarchy.
pub(crate) fn children(folder: &str) -> Vec<String> {
    let roots = mounted()
        .unwrap_or_default()
        .into_iter()
        .map(|hierarchy| hierarchy.root.join(folder));
    let entries = roots
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten());
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// A mount of the hierarchy that is attached nowhere.
pub(super) fn mount_privately(version: CgroupVersion) -> Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
    let fs_type = match version {
        CgroupVersion::V2 => "cgroup2",
        CgroupVersion::V1Systemd => "cgroup",
    };
    let context = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).at("opening a", fs_type)?;
    if version == CgroupVersion::V1Systemd {
        fsconfig_set_flag(context.as_fd(), "none").at("configuring a", fs_type)?;
        fsconfig_set_flag(context.as_fd(), "xattr").at("configuring a", fs_type)?;
        fsconfig_set_string(context.as_fd(), "name", "systemd").at("configuring a", fs_type)?;
    }
    fsconfig_create(context.as_fd()).at("creating a", fs_type)?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .at("mounting a", fs_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn hybrid_hosts_are_read() {
        let found = hierarchies(
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
             39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
             40 31 0:37 / /sys/fs/cgroup/my\\040systemd rw shared:3 - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
             42 31 0:38 /part /mnt rw,relatime - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].root, Path::new("/sys/fs/cgroup/my systemd"));
        assert!(found[1].options.contains(&"name=systemd".to_owned()));
        assert!(found[2].is_v2);
    }
}
