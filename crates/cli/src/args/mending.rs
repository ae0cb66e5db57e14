//! What the user can type to have a tree mended.

use super::NetworkArg;
use crate::password::Secret;
use crate::{complete, engines};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCompleter;
use repot_doctor::rules::RULES;
use std::convert::Infallible;
use std::str::FromStr;

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

/// What is changed on request only
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WishArgs {
    /// Give root this password: - reads it from standard input, or asks for it on a terminal
    #[arg(long, value_name = "-", value_parser = PossibleValuesParser::new(["-"]))]
    pub(crate) root_password: Option<String>,
    /// Give root the password with this hash, as `openssl passwd -6` prints it (others can see it in the list of processes)
    #[arg(long, value_name = "HASH", conflicts_with = "root_password")]
    pub(crate) root_password_hash: Option<Secret>,
    /// Log root in on the console without asking for a password
    #[arg(long)]
    pub(crate) autologin: bool,
}

/// Write into a tree what it lacks for booting and for letting you in
///
/// SOURCE is a directory, or a machine made of one. Each change is recorded first, so that --undo restores every byte, mode, owner and
/// attribute. `repot boot` needs none of this: it lays the same changes over the tree. Exit code 1 if something is left that
/// keeps it from booting or you from logging in; with --dry-run, also if there is something to be mended.
#[derive(Debug, Args)]
pub(crate) struct Fix {
    /// What to mend
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// In which container system it is to boot
    #[arg(long = "for", value_name = "ENGINE", default_value = "native", value_parser = engines::parser())]
    pub(crate) engine: String,
    /// The network that it is to see there
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    pub(crate) network: NetworkArg,
    /// Show the changes as a diff, without making them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only what these rules find, also what they mend on request only
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rules())]
    pub(crate) only: Vec<String>,
    /// Not what these rules find
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rules())]
    pub(crate) except: Vec<String>,
    /// First have the tree's own package manager install an init, a login program or a getty, where they are missing
    ///
    /// It runs in a machine of the tree with the host's network, and --undo does not take back what it installed.
    #[arg(long)]
    pub(crate) install: bool,
    /// Put everything back as it was before the first fix
    #[arg(long, conflicts_with_all = ["dry_run", "only", "except", "install", "root_password", "root_password_hash", "autologin"])]
    pub(crate) undo: bool,
    /// With --undo: also what somebody else has changed since
    #[arg(long, requires = "undo")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wishes: WishArgs,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn rules() -> PossibleValuesParser {
    PossibleValuesParser::new(RULES.iter().map(|rule| rule.meta().id))
}
