//! repot, driven as a person would drive it, on real distributions.
//!
//! One binary, a module per capability. Every test has directories and machine names of its
//! own, so that tests run beside each other and beside other users of the machine. They need
//! root, and fail without it rather than pass without having looked.
#![cfg(test)]
#![forbid(unsafe_code)]

mod boot;
mod doctor;
mod emulation;
mod engines;
mod export;
mod faults;
mod fix;
mod hostile;
mod hostile_files;
mod hosts;
mod isolation;
mod life;
mod limits;
mod quickstart;
mod rootless;
mod rules;
mod run;
mod sandbox;
mod served;
mod session;
mod sources;
mod stopping;
mod trial;
mod verbs;
