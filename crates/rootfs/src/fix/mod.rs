//! Edits written into a tree, recorded beforehand so that they can be undone to the byte.
//!
//! [`apply`] turns edits into steps of one system call's effect each; every step is in the [`Journal`] on disk before it is made.
//! [`undo`] takes the steps of a journal back, the last first, after it has seen that nobody else has changed what they made.
//! Both may be killed at any moment: what was begun is undone all the same.

mod apply;
mod journal;
#[cfg(test)]
mod properties;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod undo;

pub use apply::{Applied, apply};
pub use journal::{Journal, parse};
pub use undo::{Force, Undone, undo};
