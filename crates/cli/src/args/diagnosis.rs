//! What the user can type to learn what is wrong with a tree.

use super::NetworkArg;
use crate::complete;
use crate::engines;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use std::path::PathBuf;

/// Say what would keep a tree from booting or letting you in, and what is done about it
///
/// Nothing is started. SOURCE may also be a machine: then what its console said counts too. Exit code 1 if something was found.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// What to look at
    #[arg(required_unless_present = "host", add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: Option<String>,
    /// In which container system it is to boot; `all` compares them
    #[arg(long = "for", value_name = "ENGINE", default_value = "native", value_parser = engines::parser_or_all())]
    pub(crate) engine: String,
    /// The network that it is to see there
    #[arg(long, value_enum, default_value_t = NetworkArg::None, conflicts_with = "host")]
    pub(crate) network: NetworkArg,
    /// Look at this host instead: what it can do, what it limits, which container systems it has
    #[arg(long, conflicts_with = "source")]
    pub(crate) host: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Explain a rule: the symptom, the cause, what is done about it; without RULE, list them all
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Its ID, as `repot doctor` prints it
    pub(crate) rule: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Boot a tree for real in the container systems of this host, log in, shut down, and print the table
///
/// The machines are ephemeral, and root's password in them is made up; the tree is not touched. Exit code 1 unless root got in
/// and every stop was clean, wherever it could be tried.
#[derive(Debug, Args)]
pub(crate) struct Try {
    /// What to boot
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// In these container systems only
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = engines::parser())]
    pub(crate) on: Vec<String>,
    /// Also run each engine's own obvious command on the tree as it is, so that the difference shows
    #[arg(long)]
    pub(crate) before: bool,
    /// How long a prompt is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the table as a page that one can send to somebody
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
