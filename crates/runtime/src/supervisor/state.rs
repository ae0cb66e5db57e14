//! What the supervisor tells other commands by `state.json`.
//!
//! Without the PID of the machine's present PID 1 nobody gets in. So that a full `/run` does not stand in the way of a restart,
//! a file of the same size is kept beside it, which makes room when there is none.

use super::Supervisor;
use crate::registry;
use repot_model::RuntimeState;
use std::path::Path;

/// The machine's state, in its run-time directory.
pub(super) const STATE: &str = "state.json";
/// What is given up for it.
const SPARE: &str = "state.spare";
/// How much larger the next state may be.
const MARGIN_BYTES: usize = 4096;

impl Supervisor<'_> {
    pub(super) fn write_state(&self) {
        write(&self.dirs.running(&self.spec.name), &self.state);
    }
}

/// Writes the state. Where even the spare does not make room, the machine goes on all the same; the state in memory stays right.
fn write(dir: &Path, state: &RuntimeState) {
    let path = dir.join(STATE);
    if registry::write_json(&path, state).is_err() {
        let _ = std::fs::remove_file(dir.join(SPARE));
        let _ = registry::write_json(&path, state);
    }
    keep_spare(dir);
}

/// Sets room aside for the next time.
pub(super) fn keep_spare(dir: &Path) {
    let spare = dir.join(SPARE);
    if spare.exists() {
        return;
    }
    let size = std::fs::metadata(dir.join(STATE)).map_or(0, |metadata| metadata.len());
    let size = usize::try_from(size).unwrap_or(0) + MARGIN_BYTES;
    // A hole would take no room. A half of it is worth nothing.
    if std::fs::write(&spare, vec![0; size]).is_err() {
        let _ = std::fs::remove_file(&spare);
    }
}
