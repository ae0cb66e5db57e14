//! The only unsafe code of repot: the few kernel calls that `rustix` does not offer, behind safe functions.
//!
//! Nothing here decides anything. Each file opts in to `unsafe` by itself; each unsafe block holds one operation
//! and says why it is sound. Everything else in the workspace forbids unsafe code.
#![deny(missing_docs)]

mod error;
mod exec;
mod lock;
mod memory;
mod mounts;
mod net;
mod process;
mod seccomp;
mod signals;

pub use error::{Error, Result};
pub use exec::{
    cloexec_from, close_all_but, close_each, close_from, exec, exit_now, new_session_keyring,
    open_descriptors,
};
pub use lock::lock_byte;
pub use memory::forget_program_pages;
pub use mounts::{MountAttr, detached_mounts, mount_setattr};
pub use net::loopback_up;
pub use process::{
    Cloned, Namespaces, clone_owned_by, clone_process, clone_process_into, free_terminal,
    inherited_fd, send_signal, set_packet_mode, take_terminal, unshare,
};
pub use seccomp::{Instruction, install_filter};
pub use signals::{SignalSet, block_signals, reset_signals, signal_fd, take_signal};
