//! What the user can type to do without repot what repot would do.

use super::Environment;
use crate::complete;
use crate::engines;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use repot_model::MachineName;

/// Print the files and commands with which one boots a tree in another container system by hand
///
/// Nothing is done. They are those that `repot boot --on` would use, on a tree that `repot fix` has adapted, or on an image that
/// `repot export` has made.
#[derive(Debug, Args)]
pub(crate) struct ByHand {
    /// What is to be booted
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// In which container system; it need not be installed
    #[arg(long = "for", value_name = "ENGINE", value_parser = engines::other_parser())]
    pub(crate) engine: String,
    /// Name of the machine; without it, one is made from SOURCE
    #[arg(long, short = 'n')]
    pub(crate) name: Option<MachineName>,
    /// Start this program of the tree as init
    #[arg(long, value_name = "PATH")]
    pub(crate) init: Option<String>,
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
