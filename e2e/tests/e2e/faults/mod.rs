//! What goes wrong around a machine: two commands at once, killed processes, things that run out.

mod paste;
mod together;
mod versions;
