//! Where a caller may make cgroups: root anywhere, others where some was delegated to them (cgroups(7), "Cgroup delegation").

use super::hierarchies::{Hierarchy, mount_privately, mounted};
use repot_model::CgroupVersion;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::path::Path;

/// Where this process may make cgroups of that layout, as a path below the root of the hierarchy: at the root itself, else
/// below its own, else nowhere. A hierarchy that is not mounted belongs to whoever can mount it.
pub(crate) fn writable_place(version: CgroupVersion) -> Option<String> {
    let Some(hierarchy) = find(version) else {
        return mount_privately(version).ok().map(|_| String::new());
    };
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = hierarchy
        .path_of(&membership)
        // Seen from a cgroup namespace that it is outside of.
        .filter(|path| !path.contains(".."));
    let may_write = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    [Some(""), own].into_iter().flatten().find_map(|path| {
        let dir = hierarchy.root.join(path);
        (may_write(&dir) && may_write(&dir.join("cgroup.procs"))).then(|| path.to_owned())
    })
}

/// Whether this process may make a cgroup of that layout for a machine.
pub fn may_make_cgroups(version: CgroupVersion) -> bool {
    writable_place(version).is_some()
}

/// How a user gets a cgroup that machines can be put into, as a command.
pub fn delegation_hint(version: CgroupVersion) -> String {
    if version == CgroupVersion::V2 && Path::new("/run/systemd/system").is_dir() {
        return "`systemd-run --user --scope -p Delegate=yes repot boot ...` runs it in one".into();
    }
    let Some(hierarchy) = find(version) else {
        return "this host has not mounted the hierarchy; root can, or can run the machine".into();
    };
    let files = match version {
        CgroupVersion::V2 => "$D/cgroup.procs $D/cgroup.threads $D/cgroup.subtree_control",
        CgroupVersion::V1Systemd => "$D/cgroup.procs $D/tasks",
    };
    format!(
        "`D={}/$USER; sudo mkdir $D; sudo chown $USER $D {files}; echo $$ | sudo tee $D/cgroup.procs` delegates one and moves this \
         shell there",
        hierarchy.root.display()
    )
}

fn find(version: CgroupVersion) -> Option<Hierarchy> {
    let mounted = mounted().ok()?;
    mounted
        .into_iter()
        .find(|hierarchy| hierarchy.is_of(version))
}
