//! From a boot spec to the list of steps. Pure: what is not in the spec comes in through [`Inputs`].

use super::{RootBy, Step, devices, figures, filesystems, privileges, root};
use crate::error::Result;
use repot_model::{BootSpec, IdMap, Network, Pid1};
use std::ffi::CString;
use std::path::PathBuf;

/// What the steps need to know besides the spec.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// A directory of the host that the child may cover with a mount in its own namespace.
    pub staging: PathBuf,
    /// The socket for `READY=1`, if this init sends it.
    pub notify_socket: Option<PathBuf>,
    /// The content of the host's os-release, for `/run/host/os-release`.
    pub host_os_release: String,
    /// Whether each of the spec's binds is a directory.
    pub bind_is_dir: Vec<bool>,
    /// What lays the layers over each other.
    pub root_by: RootBy,
}

/// The steps of the child, in order. The mounts that the parent hands over are, in this order: the base, the layers, the
/// place for writes (but for `--in-place`), the binds, the devices, the host's `/sys` where the machine shares it.
///
/// # Errors
/// A path in the spec holds a NUL byte, or a capability is unknown.
pub fn steps(spec: &BootSpec, inputs: &Inputs) -> Result<Vec<Step>> {
    // The cgroups first: whatever fails or hangs later is in them.
    let mut steps = vec![Step::EnterCgroups, Step::PrivateMounts];
    // Everything of the host that is needed later is opened before anything is covered, and as long as this process is
    // still the host's root: directories on the way may be closed to others.
    let held = devices::hold(inputs, &mut steps)?;
    root::hold(spec, inputs, &mut steps);
    root::staging(&inputs.staging, &mut steps)?;
    steps.extend([
        Step::BecomeRoot,
        // After the change of IDs, which clears the setting (prctl(2), PR_SET_PDEATHSIG).
        Step::DieWithParent,
        // Its root is where this process stands now.
        Step::NewCgroupNamespace,
    ]);
    let handed = root::steps(spec, inputs.root_by, &mut steps)?;
    filesystems::proc(&mut steps);
    devices::steps(spec, &mut steps)?;
    filesystems::run(spec, inputs, &held, &mut steps);
    filesystems::protect_proc(spec, &mut steps);
    figures::steps(spec, &mut steps)?;
    filesystems::sys(spec, handed, &mut steps);
    if let Some(name) = spec
        .terminals
        .first()
        .and_then(|terminal| terminal.names.first())
    {
        steps.push(Step::Stdio {
            path: cstring(format!("dev/{name}"))?,
        });
    }
    filesystems::place(spec, inputs, handed, &mut steps)?;
    steps.push(Step::PivotRoot {
        new_root: c"root".into(),
    });
    steps.push(Step::Hostname {
        name: spec.hostname.clone(),
    });
    if spec.network == Network::None {
        steps.push(Step::Loopback);
    }
    if spec.needs.is_none() && spec.pid1 == Pid1::Program && !spec.terminals.is_empty() {
        steps.push(Step::NewSession);
    }
    privileges::steps(spec, &mut steps)?;
    Ok(steps)
}

/// Text as the kernel takes it.
pub(super) fn cstring(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|error| crate::Error::Invalid {
        what: String::from_utf8_lossy(&error.clone().into_vec()).into_owned(),
        why: "it holds a NUL byte".into(),
    })
}

/// A path as the kernel takes it.
pub(super) fn path_cstring(path: &std::path::Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    cstring(path.as_os_str().as_bytes())
}

/// Whether the machine has to see the host's `/sys`. It shows the devices of a network namespace, so a user namespace that
/// does not own that may not mount one (user_namespaces(7)).
pub(crate) fn shares_sys(spec: &BootSpec) -> bool {
    spec.network == Network::Host && !matches!(spec.idmap, IdMap::Host { .. })
}
