//! The rules, each on a tree that was broken on purpose: what happens without it, seen, and the login that it brings.

mod boot;
mod by_hand;
mod hand;
mod login;
mod patient;
mod terminals;
mod tree;
