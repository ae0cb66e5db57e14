//! A machine's cgroups on the host: made before PID 1 runs, emptied and removed after.
//!
//! Works on v2, v1 and hybrid hosts alike: each mounted hierarchy that can hold or count something gets a directory
//! `repot/NAME`. A hierarchy that a machine needs and the host has not mounted (cgroup2 on a v1 host, the named v1
//! hierarchy `systemd` on a v2 host) is mounted privately, reachable through a descriptor only.

use crate::error::{At, Error, Result};
use repot_model::{CgroupPlan, CgroupVersion, IdMap};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The cgroups of one machine.
#[derive(Debug)]
pub(crate) struct MachineCgroups {
    /// The machine's place in each hierarchy; first the one that the machine itself sees.
    places: Vec<Place>,
    /// Private mounts that `places` go through.
    _mounts: Vec<OwnedFd>,
}

/// A machine's directory in a hierarchy.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    is_v2: bool,
}

/// How a new process gets into a machine's cgroups, opened while the host's paths can be reached.
#[derive(Debug)]
pub(crate) struct Entrances {
    /// The directory in the cgroup2 hierarchy, where a process can be made ([`repot_sys::clone_process_into`]).
    pub(crate) birthplace: Option<OwnedFd>,
    doors: Vec<Door>,
}

/// A file that takes the process that writes 0 to it.
#[derive(Debug)]
struct Door {
    file: OwnedFd,
    is_v2: bool,
    is_needed: bool,
}

impl Entrances {
    /// Moves this process, which has a single thread, into all of them, but for the cgroup2 hierarchy if it was made there.
    ///
    /// # Errors
    /// The hierarchy that the machine sees does not take it.
    pub(crate) fn enter(&self, is_born_inside: bool) -> std::result::Result<(), Errno> {
        for door in &self.doors {
            if door.is_v2 && is_born_inside {
                continue;
            }
            match rustix::io::write(&door.file, b"0") {
                Err(errno) if door.is_needed => return Err(errno),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A cgroup hierarchy that is mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    root: PathBuf,
    is_v2: bool,
    /// v1: controllers, or `name=…`.
    options: Vec<String>,
}

/// The hierarchies in a `/proc/self/mountinfo` (proc(5)). Only mounts that show a hierarchy from its root count.
pub(crate) fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
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
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| {
            text.replace(code, plain)
        })
}

impl MachineCgroups {
    /// Makes the directories. What a crash left there is removed first, by the caller ([`remove`]).
    ///
    /// # Errors
    /// The hierarchy that the machine needs can neither be found nor mounted, or not be written.
    pub(crate) fn create(plan: &CgroupPlan, idmap: &IdMap) -> Result<Self> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")
            .at("reading", "/proc/self/mountinfo")?;
        let mounted = hierarchies(&mountinfo);
        let mut mounts = Vec::new();
        let wanted = |hierarchy: &Hierarchy| match plan.version {
            CgroupVersion::V2 => hierarchy.is_v2,
            CgroupVersion::V1Systemd => hierarchy
                .options
                .iter()
                .any(|option| option == "name=systemd"),
        };
        let own_hierarchy = match mounted.iter().find(|hierarchy| wanted(hierarchy)) {
            Some(hierarchy) => hierarchy.clone(),
            None => {
                let mount = mount_privately(plan.version)?;
                let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                mounts.push(mount);
                Hierarchy {
                    root,
                    is_v2: plan.version == CgroupVersion::V2,
                    options: Vec::new(),
                }
            }
        };
        let own = make_all(&own_hierarchy, Path::new(&plan.path))?;
        delegate(&own, idmap)?;
        // Nothing that a machine nests may become too deep for the host to remove (cgroup-v2.rst, "cgroup.max.*").
        let _ = std::fs::write(own.join("cgroup.max.depth"), "32");
        let _ = std::fs::write(own.join("cgroup.max.descendants"), "10000");
        let mut places = vec![Place {
            dir: own,
            is_v2: own_hierarchy.is_v2,
        }];
        // Every other hierarchy as well: what the machine is not moved out of, it could mount and see from the host's root.
        for hierarchy in mounted.iter().filter(|hierarchy| !wanted(hierarchy)) {
            // A hierarchy may be mounted read-only; then it is read-only for the machine too.
            if let Ok(dir) = make_all(hierarchy, Path::new(&plan.path)) {
                places.push(Place {
                    dir,
                    is_v2: hierarchy.is_v2,
                });
            }
        }
        Ok(Self {
            places,
            _mounts: mounts,
        })
    }

    /// The ways in, for one process. In a v1 hierarchy that is `tasks`: a thread that moves itself does not wait for a grace
    /// period of the kernel, as every write to `cgroup.procs` does (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).
    ///
    /// # Errors
    /// The hierarchy that the machine sees cannot be opened.
    pub(crate) fn entrances(&self) -> Result<Entrances> {
        let mut doors = Vec::with_capacity(self.places.len());
        let mut birthplace = None;
        for (number, Place { dir, is_v2 }) in self.places.iter().enumerate() {
            let path = dir.join(if *is_v2 { "cgroup.procs" } else { "tasks" });
            let is_needed = number == 0;
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => doors.push(Door {
                    file,
                    is_v2: *is_v2,
                    is_needed,
                }),
                Err(errno) if is_needed => return Err(errno).at("opening", path),
                Err(_) => {}
            }
            if *is_v2 {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                birthplace = rustix::fs::open(dir, flags, Mode::empty()).ok();
            }
        }
        Ok(Entrances { birthplace, doors })
    }

    /// Kills what is left in them and removes them.
    pub(crate) fn remove(&self) -> Result<()> {
        self.places.iter().try_for_each(|place| remove(&place.dir))
    }
}

/// The `cgroup.procs` files of the cgroups that a process is in, where they can be reached from here.
pub(crate) fn procs_files_of(pid: i32) -> Vec<PathBuf> {
    let (Ok(mountinfo), Ok(membership)) = (
        std::fs::read_to_string("/proc/self/mountinfo"),
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")),
    ) else {
        return Vec::new();
    };
    let mounted = hierarchies(&mountinfo);
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

/// Removes what machines of that path left in every hierarchy of this host.
pub(crate) fn remove_everywhere(path: &str) -> Result<()> {
    let mountinfo =
        std::fs::read_to_string("/proc/self/mountinfo").at("reading", "/proc/self/mountinfo")?;
    for hierarchy in hierarchies(&mountinfo) {
        let dir = hierarchy.root.join(path);
        if dir.is_dir() {
            remove(&dir)?;
        }
    }
    Ok(())
}

/// What a machine uses, as far as a controller counts it on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Memory in bytes, the page cache of its files included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// CPU time since it was started, in microseconds.
    pub cpu_us: Option<u64>,
}

/// Reads what the machine with that cgroup uses: v2 files first, then those of the v1 controllers (cgroup-v2.rst;
/// cgroup-v1/memory.rst, pids.rst, cpuacct.rst).
pub fn usage(plan: &CgroupPlan) -> Usage {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = hierarchies(&mountinfo);
    let text = |file: &str| {
        mounted.iter().find_map(|hierarchy| {
            std::fs::read_to_string(hierarchy.root.join(&plan.path).join(file)).ok()
        })
    };
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    // cpu.stat has this line only where the v2 cpu controller or basic accounting counts; v1 has nanoseconds.
    let v2_cpu = || {
        mounted
            .iter()
            .filter(|hierarchy| hierarchy.is_v2)
            .find_map(|hierarchy| {
                let stat =
                    std::fs::read_to_string(hierarchy.root.join(&plan.path).join("cpu.stat"))
                        .ok()?;
                stat.lines()
                    .find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok())
            })
    };
    Usage {
        memory_bytes: number("memory.current").or_else(|| number("memory.usage_in_bytes")),
        processes: number("pids.current"),
        cpu_us: number("cpuacct.usage").map(|ns| ns / 1000).or_else(v2_cpu),
    }
}

/// The names of the cgroups in a folder, in any hierarchy.
pub(crate) fn children(folder: &str) -> Vec<String> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = hierarchies(&mountinfo)
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
fn mount_privately(version: CgroupVersion) -> Result<OwnedFd> {
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

/// Creates the directories of `path` in a hierarchy one by one, handing v2 controllers down on the way. Returns the last.
fn make_all(hierarchy: &Hierarchy, path: &Path) -> Result<PathBuf> {
    let is_cpuset = hierarchy.options.iter().any(|option| option == "cpuset");
    let mut dir = hierarchy.root.clone();
    for component in path.components() {
        if hierarchy.is_v2 {
            enable_controllers(&dir);
        }
        dir.push(component);
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.at("creating cgroup", &dir)?,
        }
        if is_cpuset {
            inherit_cpuset(&dir);
        }
    }
    Ok(dir)
}

/// A new v1 cpuset has no processor and takes no process in before it is given some (cpuset(7)).
fn inherit_cpuset(dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let of_parent = dir
            .parent()
            .and_then(|parent| std::fs::read_to_string(parent.join(file)).ok());
        if let (true, Some(value)) = (own.trim().is_empty(), of_parent) {
            let _ = std::fs::write(dir.join(file), value.trim());
        }
    }
}

/// Lets the children of a v2 cgroup have its controllers (cgroups(7), "cgroup.subtree_control"). Each is tried by itself:
/// one may be unavailable, or a process in the directory may stand in the way.
fn enable_controllers(dir: &Path) {
    let Ok(available) = std::fs::read_to_string(dir.join("cgroup.controllers")) else {
        return;
    };
    let enabled = std::fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    for controller in available
        .split_whitespace()
        .filter(|name| !enabled.split_whitespace().any(|on| on == *name))
    {
        let _ = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Gives the machine's root user its own cgroup, as cgroups(7), "cgroup delegation", lists the files.
fn delegate(dir: &Path, idmap: &IdMap) -> Result<()> {
    let IdMap::Shifted { base, .. } = idmap else {
        return Ok(());
    };
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n".into());
    std::os::unix::fs::chown(dir, Some(*base), Some(*base)).at("delegating", dir)?;
    for file in listed
        .lines()
        .chain(["tasks"])
        .map(|name| dir.join(name))
        .filter(|file| file.exists())
    {
        std::os::unix::fs::chown(&file, Some(*base), Some(*base)).at("delegating", file)?;
    }
    Ok(())
}

/// How often a directory is tried again whose last process is just being buried; 5 ms apart.
const TRIES: u32 = 400;

/// Kills all processes in a cgroup and its children, then removes them.
fn remove(dir: &Path) -> Result<()> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if remove_once(dir) {
            // The folder of all machines goes with the last of them.
            let _ = dir.parent().map(std::fs::remove_dir);
            return Ok(());
        }
    }
    Err(Error::Io {
        what: "removing cgroup",
        path: dir.to_owned(),
        source: std::io::ErrorKind::ResourceBusy.into(),
    })
}

fn remove_once(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => return true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_once(&child.path());
    }
    let processes = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in processes
        .lines()
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    std::fs::remove_dir(dir).is_ok() || !dir.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

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
