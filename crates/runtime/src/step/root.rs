//! Steps that make the machine's `/`: layers below, a place for writes above.
//!
//! The overlay is mounted from inside the user namespace over layers that are ID-mapped from outside: mounted from
//! outside, overlayfs could not create its work directory there and would silently turn read-only.

use super::plan::{Inputs, cstring, path_cstring};
use super::{Handed, Instead, Mount, Step};
use crate::error::Result;
use crate::idmap::MountKind;
use repot_model::{BootSpec, IdMap, Overlay};
use rustix::mount::MountFlags;
use std::path::Path;

/// Adds the steps to a tmpfs of the child's own, so that the mount points that follow exist nowhere on the host.
pub(super) fn staging(inputs: &Inputs, steps: &mut Vec<Step>) -> Result<()> {
    let staging = path_cstring(&inputs.staging)?;
    steps.push(Step::Mount(Mount {
        fs_type: c"tmpfs".into(),
        at: staging.clone(),
        flags: MountFlags::NOSUID | MountFlags::NODEV,
        // The IDs are those of the user namespace: the process itself has none there yet.
        options: c"mode=755,uid=0,gid=0".into(),
        optional: false,
    }));
    steps.push(Step::Enter { path: staging });
    Ok(())
}

/// Adds the steps; returns the first number of handed mounts that is still free.
pub(super) fn steps(spec: &BootSpec, steps: &mut Vec<Step>) -> Result<usize> {
    steps.push(dir(c"root"));
    let layer = |path: &Path, read_only| -> Result<Option<Instead>> {
        Ok(Some(Instead {
            path: path_cstring(path)?,
            kind: MountKind::Layer,
            read_only,
        }))
    };
    if spec.root.overlay == Overlay::InPlace {
        steps.push(Step::Attach {
            handed: Handed(0),
            instead: layer(&spec.root.base, false)?,
            at: c"root".into(),
        });
        return Ok(1);
    }
    let mut lower = Vec::new();
    let sources = std::iter::once(&spec.root.base).chain(&spec.root.layers);
    for (number, source) in sources.enumerate() {
        let at = format!("lower{number}");
        steps.push(Step::Dir {
            path: cstring(at.clone())?,
            mode: 0o755,
        });
        steps.push(Step::Attach {
            handed: Handed(number),
            instead: layer(source, true)?,
            at: cstring(at.clone())?,
        });
        lower.insert(0, at);
    }
    let handed = Handed(lower.len());
    let instead = match &spec.root.overlay {
        Overlay::Kept { dir } => layer(dir, false)?,
        Overlay::Ephemeral | Overlay::InPlace => None,
    };
    steps.push(dir(c"writes"));
    steps.push(Step::Attach {
        handed,
        instead,
        at: c"writes".into(),
    });
    // Made here and not by the parent, so that both ways of getting "writes" end alike. The upper directory lends its mode
    // to the machine's /, which is 755 whatever the mode of the directory that the user unpacked into.
    steps.push(dir(c"writes/upper"));
    steps.push(dir(c"writes/work"));
    // Without privilege over the file system, overlayfs keeps its marks in user.* instead of trusted.* (overlayfs.rst,
    // "User xattr"). index=off: hard links to lower files need trusted xattrs otherwise.
    let user_xattr = if matches!(spec.idmap, IdMap::Host { .. }) {
        ""
    } else {
        ",userxattr"
    };
    let options = format!(
        "lowerdir={},upperdir=writes/upper,workdir=writes/work{user_xattr}",
        lower.join(":")
    );
    steps.push(Step::Mount(Mount {
        fs_type: c"overlay".into(),
        at: c"root".into(),
        flags: MountFlags::empty(),
        options: cstring(options)?,
        optional: false,
    }));
    Ok(handed.0 + 1)
}

fn dir(path: &std::ffi::CStr) -> Step {
    Step::Dir {
        path: path.into(),
        mode: 0o755,
    }
}
