//! What a machine may do to its host, where its user wants something else than the default.

use crate::Seccomp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The user's wishes. Kept in the machine's record, so that the next boot has them as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Everything that its user namespace allows: all capabilities, no filter, nothing of `/proc` protected.
    pub privileged: bool,
    /// Capabilities that it has besides the default ones, as names without `CAP_`, or `ALL`.
    pub capabilities: Vec<String>,
    /// Capabilities that it has not, likewise.
    pub dropped_capabilities: Vec<String>,
    /// The system-call filter, if one was chosen.
    pub seccomp: Option<Seccomp>,
    /// Devices of the host.
    pub devices: Vec<Device>,
}

/// A device of the host that a machine may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its node on the host.
    pub host_path: PathBuf,
    /// The node in the machine.
    pub guest_path: String,
    /// Whether the machine may write to it.
    pub writable: bool,
}
