//! Steps that lay lxcfs over the files of `/proc` that tell of memory, processors and disks.

use super::Step;
use super::plan::{cstring, path_cstring};
use crate::error::Result;
use repot_model::BootSpec;

/// Adds the steps. By paths of the host, which is still the root.
pub(super) fn steps(spec: &BootSpec, steps: &mut Vec<Step>) -> Result<()> {
    for path in &spec.lxcfs {
        if let Some(name) = path.file_name() {
            steps.push(Step::Figures {
                from: path_cstring(path)?,
                at: cstring(format!("proc/{}", name.to_string_lossy()))?,
            });
        }
    }
    Ok(())
}
