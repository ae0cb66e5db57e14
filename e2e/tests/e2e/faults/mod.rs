//! What goes wrong around a machine: two commands at once, killed processes, things that run out.

mod exhausted;
mod paste;
mod together;
mod versions;
