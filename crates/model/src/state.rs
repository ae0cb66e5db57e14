//! What is known of a machine between commands: its record on disk, and its state while it runs.

use crate::{BootSpec, HandOver, Limits, MachineName, Policy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of [`MachineRecord`].
pub const RECORD_VERSION: u32 = 1;

/// Version of [`RuntimeState`] and of what commands and the supervisor say to each other: who understands the one speaks the
/// other. To be raised with any change of either that an earlier or later repot would misunderstand.
pub const STATE_VERSION: u32 = 2;

/// `machines/NAME/machine.json`: what is kept of a machine between boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Its name.
    pub name: MachineName,
    /// The source as the user named it, made absolute.
    pub source: String,
    /// The directory that the source led to.
    pub base: PathBuf,
    /// 32 hexadecimal digits, made with the machine.
    pub uuid: String,
    /// Seconds since the epoch at which it was made.
    pub created_s: u64,
    /// The limits that were asked for. `None`: none were, and the host's defaults hold.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// What it may do to its host.
    #[serde(default)]
    pub policy: Policy,
    /// How it was handed to another container system; kept so that every later command can reach and remove it there. `None`:
    /// it is the native runtime's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
}

/// The part of [`RuntimeState`] that every version of repot writes under these names, so that any other can tell whether the
/// machine runs, and end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StateHeader {
    /// As in [`RuntimeState`], and so are the others.
    pub version: u32,
    /// See there.
    pub supervisor_pid: i32,
    /// See there.
    pub supervisor_start: u64,
    /// See there.
    pub leader_pid: i32,
    /// See there.
    pub leader_start: u64,
}

/// `NAME/state.json` in the run-time directory: written by the supervisor, read by everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeState {
    /// [`STATE_VERSION`] of the writer.
    pub version: u32,
    /// PID of the supervisor on the host.
    pub supervisor_pid: i32,
    /// Start time of the supervisor in clock ticks since boot (`/proc/PID/stat` field 22), against PID reuse.
    pub supervisor_start: u64,
    /// PID 1 as the host sees it; 0 while there is none.
    pub leader_pid: i32,
    /// Start time of PID 1, as above.
    pub leader_start: u64,
    /// How far it is.
    pub state: MachineState,
    /// How it became ready.
    pub ready: Option<Ready>,
    /// Seconds since the epoch at the start of this boot.
    pub booted_s: u64,
    /// Number of boots in this supervisor's life, from 1; grows with each reboot.
    pub boots: u32,
    /// Processes that the kernel has killed for want of memory, in all boots of this supervisor's life.
    #[serde(default)]
    pub oom_kills: u64,
    /// What could not be set up and was done without.
    pub warnings: Vec<String>,
    /// fuse-overlayfs, where that serves the machine's files: they can be read in the machine's user namespace only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_server: Option<ProcessId>,
    /// What was started.
    pub spec: BootSpec,
}

/// A process of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Its start time in clock ticks since boot (`/proc/PID/stat` field 22), against PID reuse.
    pub start: u64,
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// PID 1 runs, readiness has not been seen.
    Starting,
    /// Up.
    Running,
    /// Was asked to power off or reboot.
    Stopping,
    /// Not running.
    Stopped,
}

impl std::fmt::Display for MachineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// How a machine was found to be ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// For people: `systemd sent READY=1`, `"debian login:" on the console`.
    pub how: String,
    /// Milliseconds from the start of PID 1.
    pub after_ms: u64,
}

/// How a machine ended, from the wait status of PID 1 (reboot(2), "Behavior inside PID namespaces").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Status {
    /// It called reboot(2) to power off or halt, or PID 1 exited 0.
    PoweredOff,
    /// It called reboot(2) to restart.
    Rebooted,
    /// PID 1 exited with this status.
    Exited(u8),
    /// PID 1 was killed by this signal.
    Killed(u8),
}
