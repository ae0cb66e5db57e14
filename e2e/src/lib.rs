//! The test kit of repot: what every end-to-end test stands on.
//!
//! - [`trees`] builds and caches real root file systems, one per init system and defect;
//! - [`digest`] proves that such a tree is the same to the byte as before;
//! - [`console`] drives a program on a terminal as a person would, and looks at the screen;
//! - [`process`] runs a program to its end, with a deadline;
//! - [`daemon`], [`lxd`] and [`incus`] give a test a container system of its own;
//! - [`user`] gives a user of this machine without privileges;
//! - [`host`] tells whether a test left anything behind on the machine it ran on;
//! - [`subject`] is repot as the long runs (`repot-soak`, `repot-density`) drive it.
//!
//! The kit knows repot as a program only. It never sleeps: it waits for events, with a
//! deadline, and says what it saw when the deadline passes.
#![forbid(unsafe_code)]

pub mod console;
pub mod daemon;
pub mod digest;
pub mod host;
pub mod incus;
pub mod instances;
pub mod lxd;
pub mod process;
pub mod stamps;
pub mod subject;
pub mod trees;
pub mod user;
