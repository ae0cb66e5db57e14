//! What is made once of a boot spec, and used for every boot of the machine.

use crate::error::{Error, Result};
use crate::file_server::ServerPlan;
use crate::idmap;
use crate::stdio::Stdio;
use crate::step::{self, Inputs, RootBy, Step};
use repot_model::{BootSpec, Overlay};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// What is made once and used for every boot of a machine, also after `reboot`.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    steps: Vec<Step>,
    /// Standard input, output and error, where the machine has no console.
    pub(super) stdio: Option<Stdio>,
    /// The place for writes of an ephemeral machine.
    pub(super) tmpfs: Option<OwnedFd>,
    /// What is done instead where the kernel has no overlay for us.
    pub(super) served: Option<Served>,
}

/// What it takes for fuse-overlayfs to serve the machine's files.
#[derive(Debug)]
pub(super) struct Served {
    steps: Vec<Step>,
    pub(super) plan: ServerPlan,
}

impl Prepared {
    /// Turns a spec into what the child needs, without starting anything.
    ///
    /// # Errors
    /// The spec cannot be expressed: NUL bytes, unknown capabilities.
    pub(crate) fn new(spec: &BootSpec, inputs: &Inputs) -> Result<Self> {
        let invalid = |error: std::ffi::NulError| Error::Invalid {
            what: "argument or variable".into(),
            why: error.to_string(),
        };
        let argv = spec
            .argv
            .iter()
            .map(|arg| CString::new(arg.as_str()))
            .collect::<std::result::Result<_, _>>()
            .map_err(invalid)?;
        let env = spec
            .env
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<std::result::Result<_, _>>()
            .map_err(invalid)?;
        let cwd = CString::new(spec.cwd.as_str()).map_err(invalid)?;
        let served = match ServerPlan::new(spec, &inputs.staging)? {
            None => None,
            Some(plan) => {
                let inputs = Inputs {
                    root_by: RootBy::Fuse,
                    ..inputs.clone()
                };
                let steps = step::steps(spec, &inputs)?;
                Some(Served { steps, plan })
            }
        };
        Ok(Self {
            argv,
            env,
            cwd,
            steps: step::steps(spec, inputs)?,
            stdio: None,
            tmpfs: None,
            served,
        })
    }

    /// Holds the place for writes of an ephemeral machine, so that it lasts over reboots. Without this, and without detached
    /// mounts (kernel before 5.2), the child mounts one itself, whose content ends with PID 1.
    pub(crate) fn with_lasting_writes(mut self, overlay: &Overlay) -> Self {
        if *overlay == Overlay::Ephemeral {
            self.tmpfs = idmap::detached_tmpfs().ok();
        }
        self
    }

    /// The child's.
    pub(super) fn steps(&self, root_by: RootBy) -> &[Step] {
        match (root_by, &self.served) {
            (RootBy::Fuse, Some(served)) => &served.steps,
            (RootBy::Kernel | RootBy::Fuse, _) => &self.steps,
        }
    }

    /// Whether a failed step says that the kernel has no overlay: not for users (before Linux 5.11, or by a security module), not
    /// above this file system, or none at all.
    pub(super) fn refuses_overlay(&self, index: usize, errno: Errno) -> bool {
        let is_overlay = matches!(self.steps.get(index), Some(Step::Mount(mount)) if mount.fs_type.as_bytes() == b"overlay");
        let is_refusal = matches!(
            errno,
            Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NODEV | Errno::OPNOTSUPP
        );
        is_overlay && is_refusal
    }

    /// Gives the program these instead of the caller's.
    pub(crate) fn with_stdio(mut self, stdio: Option<Stdio>) -> Self {
        self.stdio = stdio;
        self
    }
}
