//! Starts machines natively: from a boot spec to steps, to a running PID 1, to its supervisor, and the ways in.
//!
//! No threads, no async, no network. What is planned is data ([`step::Step`]); what acts is small: `launch` (parent),
//! `step::run` (child), `supervisor` (one process per machine), `join` (exec, shell, login).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cgroup;
mod device;
mod dialogue;
mod dirs;
mod disk;
mod end;
mod error;
pub mod escapes;
pub mod file_server;
mod foreground;
mod handed_over;
pub mod idmap;
mod interrupts;
mod join;
mod launch;
mod leader;
mod lxcfs;
mod merged;
mod nesting;
mod overlay_probe;
mod own_program;
mod pins;
pub mod plan;
pub mod policy;
mod protocol;
mod pty;
pub mod registry;
pub mod rootless;
mod screen;
mod seccomp;
mod start;
mod stdio;
pub mod step;
pub mod stop;
mod stub;
mod supervisor;
mod terminal;

pub use cgroup::{
    Usage, check_limits, default_limits, delegation_hint, disk_usage, may_make_cgroups,
    out_of_memory, usage,
};
pub use dialogue::{Dialogue, Heard};
pub use dirs::Dirs;
pub use error::{Error, Result};
pub use foreground::{Ran, RunError, run_in_foreground};
pub use handed_over::{CommandError, forget as forget_in_engine, run_command};
pub use interrupts::{Interrupts, die_of, hear as hear_signals};
pub use join::{Join, JoinStdio, Joined, free_console, join};
pub use leader::Leader;
pub use lxcfs::lxcfs_files;
pub use merged::merged_view;
pub use overlay_probe::overlay_without_root;
pub use own_program::protect as protect_own_program;
pub use seccomp::{ProfileError, check_profile, parse_profile};
pub use start::{Connection, Waited, start, supervisor_main};
pub use stdio::{Pump, Stdio};
pub use supervisor::supervise;
pub use terminal::{
    RawMode, Remote, SessionEnd, attach, follow, session, wait_for_key, window_size,
};
