//! A machine's cgroups on the host: made before PID 1 runs, emptied and removed after.
//!
//! Works on v2, v1 and hybrid hosts alike: each mounted hierarchy that can hold or count something gets a directory
//! `repot/NAME`. A hierarchy that a machine needs and the host has not mounted (cgroup2 on a v1 host, the named v1
//! hierarchy `systemd` on a v2 host) is mounted privately, reachable through a descriptor only.

mod delegation;
mod freezer;
mod hierarchies;
mod limits;
mod oom;
mod removal;
mod usage;

pub(crate) use delegation::writable_place;
pub use delegation::{delegation_hint, may_make_cgroups};
pub(crate) use freezer::{frozen, rescue, thaw};
pub(crate) use hierarchies::{children, procs_files_of, unescape};
pub use limits::{check_limits, default_limits};
pub(crate) use oom::OomEvents;
pub use oom::out_of_memory;
pub(crate) use removal::remove_everywhere;
pub use usage::{Usage, disk_usage, usage};

use crate::error::{At, Result};
use hierarchies::{Hierarchy, mount_privately, mounted};
use removal::remove;
use repot_model::{BootSpec, IdMap, Limits};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The cgroups of one machine.
#[derive(Debug)]
pub(crate) struct MachineCgroups {
    /// The machine's place in each hierarchy; first the one that the machine itself sees.
    places: Vec<Place>,
    /// What `places` are in: private mounts last as long as these.
    _hierarchies: Vec<Hierarchy>,
    /// Limits that nobody asked for and that are not kept.
    pub(crate) warnings: Vec<String>,
}

/// A machine's directory in a hierarchy.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    is_v2: bool,
    /// Whether every process of the machine has to be in it: the machine sees it, or it keeps a limit.
    is_needed: bool,
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
    /// The hierarchy that the machine sees, or one that limits it, does not take it.
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

impl MachineCgroups {
    /// Makes the directories and sets the limits. What a crash left there is removed first, by the caller ([`remove`]).
    ///
    /// # Errors
    /// The hierarchy that the machine needs can neither be found nor mounted, or not be written; a limit cannot be kept.
    pub(crate) fn create(spec: &BootSpec) -> Result<Self> {
        let plan = &spec.cgroup;
        let Some(path) = plan.path.as_deref() else {
            return Ok(Self {
                places: Vec::new(),
                warnings: Vec::new(),
                _hierarchies: Vec::new(),
            });
        };
        let mut mounted = mounted()?;
        let wanted = |hierarchy: &Hierarchy| hierarchy.is_of(plan.version);
        let own_hierarchy = match mounted.iter().find(|hierarchy| wanted(hierarchy)) {
            Some(hierarchy) => hierarchy.clone(),
            None => {
                let hierarchy = mount_privately(plan.version)?;
                mounted.push(hierarchy.clone());
                hierarchy
            }
        };
        let own = make_all(&own_hierarchy, Path::new(path))?;
        delegate(&own, &spec.idmap)?;
        // Nothing that a machine nests may become too deep for the host to remove (cgroup-v2.rst, "cgroup.max.*").
        let _ = std::fs::write(own.join("cgroup.max.depth"), "32");
        let _ = std::fs::write(own.join("cgroup.max.descendants"), "10000");
        let mut places = vec![Place {
            dir: own,
            is_v2: own_hierarchy.is_v2,
            is_needed: true,
        }];
        // Every other hierarchy as well: what the machine is not moved out of, it could mount and see from the host's root.
        for hierarchy in mounted.iter().filter(|hierarchy| !wanted(hierarchy)) {
            // A hierarchy may be mounted read-only; then it is read-only for the machine too.
            if let Ok(dir) = make_all(hierarchy, Path::new(path)) {
                places.push(Place {
                    dir,
                    is_v2: hierarchy.is_v2,
                    is_needed: false,
                });
            }
        }
        let mut cgroups = Self {
            places,
            warnings: Vec::new(),
            _hierarchies: Vec::new(),
        };
        let limited = cgroups.limit(&spec.limits, &mounted, path);
        cgroups._hierarchies = mounted;
        if let Err(error) = limited {
            let _ = cgroups.remove();
            return Err(error);
        }
        Ok(cgroups)
    }

    fn limit(&mut self, limits: &Limits, mounted: &[Hierarchy], path: &str) -> Result<()> {
        let (keepers, warnings) = limits::apply(limits, mounted, path)?;
        for keeper in keepers {
            let dir = keeper.root.join(path);
            for place in self.places.iter_mut().filter(|place| place.dir == dir) {
                place.is_needed = true;
            }
        }
        self.warnings = warnings;
        Ok(())
    }

    /// The ways in, for one process. In a v1 hierarchy that is `tasks`: a thread that moves itself does not wait for a grace
    /// period of the kernel, as every write to `cgroup.procs` does (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).
    ///
    /// # Errors
    /// The hierarchy that the machine sees cannot be opened.
    pub(crate) fn entrances(&self) -> Result<Entrances> {
        let mut doors = Vec::with_capacity(self.places.len());
        let mut birthplace = None;
        for Place {
            dir,
            is_v2,
            is_needed,
        } in &self.places
        {
            let path = dir.join(if *is_v2 { "cgroup.procs" } else { "tasks" });
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => doors.push(Door {
                    file,
                    is_v2: *is_v2,
                    is_needed: *is_needed,
                }),
                Err(errno) if *is_needed => return Err(errno).at("opening", path),
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
    // The same for what others make below, who do not expect that they have to (LXC, cgfsng.c).
    let _ = std::fs::write(dir.join("cgroup.clone_children"), "1");
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
