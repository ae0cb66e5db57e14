//! Steps that make the machine's `/`: layers below, a place for writes above.
//!
//! The overlay is mounted from inside the user namespace over layers that are ID-mapped from outside: mounted from
//! outside, overlayfs could not create its work directory there and would silently turn read-only.

use super::plan::{Inputs, cstring, path_cstring};
use super::{Handed, Held, Instead, Mount, RootBy, Step};
use crate::error::Result;
use crate::idmap::MountKind;
use repot_model::{BootSpec, IdMap, Overlay, RootPlan};
use rustix::mount::MountFlags;
use std::path::Path;

/// The device of FUSE. 0 is the socket of [`super::devices::hold`].
const FUSE: Held = Held(1);

/// Adds the step that opens what the staging directory would cover, or the change of IDs would close.
pub(super) fn hold(spec: &BootSpec, inputs: &Inputs, steps: &mut Vec<Step>) {
    if is_served(spec, inputs.root_by) {
        steps.push(Step::OpenFuse { held: FUSE });
    }
}

fn is_served(spec: &BootSpec, by: RootBy) -> bool {
    by == RootBy::Fuse && spec.root.overlay != Overlay::InPlace
}

/// Adds the steps to a tmpfs of the child's own, so that the mount points that follow exist nowhere on the host.
pub(super) fn staging(at: &Path, steps: &mut Vec<Step>) -> Result<()> {
    let staging = path_cstring(at)?;
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
pub(super) fn steps(spec: &BootSpec, by: RootBy, steps: &mut Vec<Step>) -> Result<usize> {
    steps.push(dir(c"root"));
    if is_served(spec, by) {
        steps.push(Step::MountServed {
            held: FUSE,
            at: c"root".into(),
        });
        // The base, the layers and the place for writes are handed over all the same.
        return Ok(spec.root.layers.len() + 2);
    }
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

/// The steps of the process that becomes fuse-overlayfs, in a mount namespace of its own: each layer gets a name there without
/// the commas and colons of its path. Of what is handed over, 0 is the place for writes that are forgotten. Then the options.
pub(crate) fn serving_steps(root: &RootPlan, staging_at: &Path) -> Result<(Vec<Step>, String)> {
    let mut steps = Vec::new();
    staging(staging_at, &mut steps)?;
    let mut lower = Vec::new();
    for (number, source) in std::iter::once(&root.base).chain(&root.layers).enumerate() {
        let at = format!("lower{number}");
        bound(source, &at, &mut steps)?;
        lower.insert(0, at);
    }
    match &root.overlay {
        Overlay::Kept { dir } => bound(dir, "writes", &mut steps)?,
        Overlay::Ephemeral | Overlay::InPlace => {
            steps.push(dir(c"writes"));
            steps.push(Step::Attach {
                handed: Handed(0),
                instead: None,
                at: c"writes".into(),
            });
        }
    }
    steps.extend([dir(c"writes/upper"), dir(c"writes/work")]);
    let options = format!(
        "lowerdir={},upperdir=writes/upper,workdir=writes/work",
        lower.join(":")
    );
    Ok((steps, options))
}

/// Binds a directory of the host as it is: this process only reads and writes files there, whatever the flags of the mount, which
/// the machine does not see.
fn bound(from: &Path, at: &str, steps: &mut Vec<Step>) -> Result<()> {
    let at = cstring(at)?;
    steps.push(dir(&at));
    steps.push(Step::Bind {
        from: path_cstring(from)?,
        at,
    });
    Ok(())
}

fn dir(path: &std::ffi::CStr) -> Step {
    Step::Dir {
        path: path.into(),
        mode: 0o755,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_hold_no_path() {
        let root = RootPlan {
            base: "/a:b,c".into(),
            layers: vec!["/adapted".into()],
            overlay: Overlay::Kept { dir: "/w".into() },
        };
        let (steps, options) = serving_steps(&root, Path::new("/run/x")).unwrap();
        assert_eq!(
            options,
            "lowerdir=lower1:lower0,upperdir=writes/upper,workdir=writes/work"
        );
        let bound: Vec<String> = steps
            .iter()
            .filter(|step| matches!(step, Step::Bind { .. }))
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            bound,
            [
                "bind /a:b,c at lower0",
                "bind /adapted at lower1",
                "bind /w at writes"
            ]
        );
    }
}
