//! Looks at a tree without executing anything of it, and says what its init and login stack want.
//!
//! `inspect` reads beneath the root and yields `Facts`, each with its evidence; `needs` is a pure function from
//! facts to `Needs`, kept in the file of the init that is meant; `diagnose` compares them with what an engine offers and yields
//! `Finding`s, a rule per file. Every read goes through `repot_rootfs::RootRead`;
//! this crate has no way to a path of the host or to a process.
#![forbid(unsafe_code)]

pub mod accounts;
mod candidate;
mod control;
mod distro;
mod edit;
mod emulation;
mod error;
#[cfg(test)]
mod fake;
mod getty;
mod init;
mod inspect;
pub mod log_book;
mod login;
mod packages;
mod reading;
pub mod rules;
#[cfg(test)]
mod together;
mod view;

pub use candidate::Candidate;
pub use emulation::{Execution, execution};
pub use error::{Error, Result};
pub use getty::{claims_terminal, getty_argv, known_term};
pub use init::{Hearing, INITS, InitSystem, Setup, Unwanted};
pub use inspect::{inspect, inspect_for_command, inspect_init, needs};
pub use rules::diagnose;
pub use view::View;
