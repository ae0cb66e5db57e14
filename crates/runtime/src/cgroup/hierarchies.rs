//! The cgroup hierarchies of this host: which are mounted where, and those that have to be mounted privately.

use crate::error::{At, Result};
use repot_model::CgroupVersion;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

/// A cgroup hierarchy that can be reached.
#[derive(Debug, Clone)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) root: PathBuf,
    pub(super) is_v2: bool,
    /// v1: controllers, or `name=…`.
    pub(super) options: Vec<String>,
    /// The private mount that `root` goes through.
    private: Option<Rc<OwnedFd>>,
}

impl Hierarchy {
    /// One that the host has mounted.
    pub(super) fn at(root: impl Into<PathBuf>, is_v2: bool, options: &str) -> Self {
        Self {
            root: root.into(),
            is_v2,
            options: options.split(',').map(str::to_owned).collect(),
            private: None,
        }
    }

    /// Whether it is the one that machines of this version see.
    pub(super) fn is_of(&self, version: CgroupVersion) -> bool {
        match version {
            CgroupVersion::V2 => self.is_v2,
            CgroupVersion::V1Systemd => self.options.iter().any(|option| option == SYSTEMD),
        }
    }

    /// The path of a process' cgroup in it, without leading slash, from the process' `/proc/PID/cgroup` (cgroups(7)): lines of
    /// hierarchy ID, controllers, path.
    pub(super) fn path_of<'a>(&self, membership: &'a str) -> Option<&'a str> {
        membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let has = |name: &str| self.options.iter().any(|option| option == name);
            let is_same = match controllers {
                "" => self.is_v2,
                names => !self.is_v2 && names.split(',').all(has),
            };
            is_same.then(|| path.trim_start_matches('/'))
        })
    }
}

/// What `/proc/PID/cgroup` and the mount options call systemd's own v1 hierarchy.
const SYSTEMD: &str = "name=systemd";

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
            (shown == "/").then(|| Hierarchy::at(unescape(root), is_v2, options))
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

/// The hierarchies that are mounted here, and those that are not but that machines may be in.
pub(super) fn mounted() -> Result<Vec<Hierarchy>> {
    let mountinfo =
        std::fs::read_to_string("/proc/self/mountinfo").at("reading", "/proc/self/mountinfo")?;
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = hierarchies(&mountinfo);
    for version in unmounted(&found, &membership) {
        // Where it cannot be mounted, no machine was put into it either.
        found.extend(mount_privately(version));
    }
    Ok(found)
}

/// Which hierarchies exist, as a process' `/proc/PID/cgroup` shows it (cgroups(7)), without being mounted.
fn unmounted(mounted: &[Hierarchy], membership: &str) -> Vec<CgroupVersion> {
    [(CgroupVersion::V2, ""), (CgroupVersion::V1Systemd, SYSTEMD)]
        .into_iter()
        .filter(|(version, name)| {
            mounted.iter().all(|hierarchy| !hierarchy.is_of(*version))
                && membership
                    .lines()
                    .any(|line| line.split(':').nth(1) == Some(*name))
        })
        .map(|(version, _)| version)
        .collect()
}

/// The `cgroup.procs` files of the cgroups that a process is in, where they can be reached and written from here.
pub(crate) fn procs_files_of(pid: i32) -> Vec<File> {
    let (Ok(mounted), Ok(membership)) = (
        mounted(),
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")),
    ) else {
        return Vec::new();
    };
    mounted
        .iter()
        .filter_map(|hierarchy| {
            let dir = hierarchy.root.join(hierarchy.path_of(&membership)?);
            File::options()
                .write(true)
                .open(dir.join("cgroup.procs"))
                .ok()
        })
        .collect()
}

/// The names of the cgroups in a folder, in any hierarchy.
pub(crate) fn children(folder: &str) -> Vec<String> {
    let mounted = mounted().unwrap_or_default();
    let entries = mounted
        .iter()
        .filter_map(|hierarchy| std::fs::read_dir(hierarchy.root.join(folder)).ok())
        .flat_map(|entries| entries.flatten());
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// A mount of the hierarchy that is attached nowhere.
pub(super) fn mount_privately(version: CgroupVersion) -> Result<Hierarchy> {
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
    let mount = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .at("mounting a", fs_type)?;
    let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let mut hierarchy = match version {
        CgroupVersion::V2 => Hierarchy::at(root, true, ""),
        CgroupVersion::V1Systemd => Hierarchy::at(root, false, SYSTEMD),
    };
    hierarchy.private = Some(Rc::new(mount));
    Ok(hierarchy)
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
        assert_eq!(unmounted(&found, "2:name=systemd:/\n0::/\n"), []);
    }

    #[test]
    fn what_a_host_has_not_mounted_is_noticed() {
        let v1 = hierarchies(
            "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
        );
        assert_eq!(
            unmounted(&v1, "2:pids:/\n1:name=systemd:/\n0::/\n"),
            [CgroupVersion::V2]
        );
        assert_eq!(unmounted(&v1, "2:pids:/\n1:name=systemd:/\n"), []);
        let v2 = hierarchies("41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n");
        assert_eq!(unmounted(&v2, "0::/user.slice\n"), []);
        assert_eq!(
            unmounted(&v2, "7:name=systemd:/\n0::/\n"),
            [CgroupVersion::V1Systemd]
        );
    }
}
