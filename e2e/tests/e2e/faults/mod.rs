//! What goes wrong around a machine: two commands at once, killed processes, things that run out.

mod exhausted;
mod flood;
mod frozen;
pub(crate) mod full;
mod paste;
mod shared;
mod together;
mod unreaped;
mod versions;
