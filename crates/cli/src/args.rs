//! What the user can type: verbs and options, with the texts that help, man pages and completions are made of.

mod by_hand;
mod diagnosis;
mod exporting;
mod mending;

use crate::complete;
use crate::limits::LimitArgs;
use crate::policy::PolicyArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use repot_model::{MachineName, Signal};
use std::path::PathBuf;

pub(crate) use by_hand::ByHand;
pub(crate) use diagnosis::{Doctor, Explain, Try};
pub(crate) use exporting::{CompressArg, Export, FormArg};
pub(crate) use mending::{Fix, WishArgs};

/// Boots any distribution, with any init, to its login prompt
///
/// Takes the root file system of any Linux distribution and gets it to boot and let you log in. The environment is adapted
/// to the distribution: its tree is never changed unless you say so.
#[derive(Debug, Parser)]
#[command(
    name = "repot",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Detach from a machine's terminal: ^] three times within a second.\n\nEnvironment: REPOT_DATA_DIR, REPOT_RUN_DIR (where things are kept), REPOT_TERMINAL=raw (a machine's output reaches the terminal unfiltered), REPOT_LXCFS (where lxcfs is mounted, if not at one of its usual places).\nExit codes: 0 done, 1 findings or forced, 2 usage, 3 failure; run, exec, shell and login pass the program's status through (128+n for a signal) and use 125 to 127 for failures of their own."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Boot(Boot),
    Run(Run),
    Attach(Attach),
    Login(Login),
    Shell(Shell),
    Exec(Exec),
    #[command(visible_alias = "ls")]
    List(List),
    Status(Status),
    Top(Top),
    Logs(Logs),
    #[command(visible_alias = "poweroff")]
    Stop(Stop),
    Reboot(Reboot),
    Kill(Kill),
    Rm(Rm),
    Import(Import),
    Export(Export),
    Images(Images),
    Inspect(Inspect),
    Doctor(Doctor),
    Fix(Fix),
    Explain(Explain),
    Try(Try),
    #[command(name = "command")]
    ByHand(ByHand),
    #[command(hide = true)]
    Generate(Generate),
}

impl Verb {
    /// Whether it unpacks, reads or removes trees, whose files belong to many users: without root, that takes a user namespace
    /// with subordinate IDs. Entering a machine that runs does not.
    pub(crate) fn touches_trees(&self) -> bool {
        match self {
            Self::Boot(_) | Self::Run(_) | Self::Rm(_) | Self::Import(_) => true,
            Self::Export(_) | Self::Fix(_) => true,
            // They tell how much room the files of a machine take.
            Self::Status(_) | Self::Top(_) => true,
            Self::Images(args) => !args.rm.is_empty(),
            // A directory can be looked at as whoever one is.
            Self::Inspect(args) => !std::path::Path::new(&args.source).is_dir(),
            Self::Doctor(args) => args
                .source
                .as_ref()
                .is_some_and(|source| !std::path::Path::new(source).is_dir()),
            Self::Explain(_) => false,
            // Each trial is a command of its own, which sees to that.
            Self::ByHand(args) => !std::path::Path::new(&args.source).is_dir(),
            Self::Try(args) => !std::path::Path::new(&args.source).is_dir(),
            Self::Attach(_) | Self::Login(_) | Self::Shell(_) | Self::Exec(_) => false,
            Self::List(_) | Self::Logs(_) | Self::Generate(_) => false,
            Self::Stop(_) | Self::Reboot(_) | Self::Kill(_) => false,
        }
    }

    /// Whether it, or the supervisor that it starts, executes programs of a tree. (`try` does so by further commands.)
    pub(crate) fn executes_in_machines(&self) -> bool {
        match self {
            Self::Boot(_) | Self::Run(_) | Self::Login(_) | Self::Shell(_) | Self::Exec(_) => true,
            Self::Stop(_) | Self::Reboot(_) => true,
            Self::Attach(_) | Self::List(_) | Self::Status(_) | Self::Top(_) | Self::Rm(_) => false,
            Self::Logs(_) | Self::Kill(_) | Self::Import(_) | Self::Export(_) => false,
            Self::Images(_) | Self::Inspect(_) | Self::Doctor(_) | Self::Fix(_) => false,
            Self::Explain(_) | Self::ByHand(_) | Self::Try(_) | Self::Generate(_) => false,
        }
    }

    /// Whether the exit status is that of a program in the machine.
    pub(crate) fn passes_status(&self) -> bool {
        match self {
            Self::Run(_) | Self::Exec(_) | Self::Shell(_) | Self::Login(_) => true,
            Self::Boot(_) | Self::Attach(_) | Self::List(_) | Self::Status(_) => false,
            Self::Top(_) | Self::Logs(_) | Self::Stop(_) | Self::Reboot(_) => false,
            Self::Kill(_) | Self::Rm(_) | Self::Import(_) | Self::Export(_) => false,
            Self::Images(_) | Self::Inspect(_) | Self::Doctor(_) | Self::Fix(_) => false,
            Self::Explain(_) | Self::Try(_) | Self::ByHand(_) | Self::Generate(_) => false,
        }
    }
}

/// Where the machine's writes go
#[derive(Debug, Args)]
pub(crate) struct Writes {
    /// Keep all writes in memory and forget them when the machine stops
    #[arg(long, short = 'x', conflicts_with = "in_place")]
    pub(crate) ephemeral: bool,
    /// Write to the tree itself instead of to a layer above it
    #[arg(long)]
    pub(crate) in_place: bool,
}

/// What surrounds the machine
#[derive(Debug, Args)]
pub(crate) struct Environment {
    /// The network that the machine sees
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    pub(crate) network: NetworkArg,
    /// Show a file or directory of the host in the machine, writable
    #[arg(long, value_name = "HOST[:MACHINE]")]
    pub(crate) bind: Vec<String>,
    /// The same, read-only
    #[arg(long, value_name = "HOST[:MACHINE]")]
    pub(crate) bind_ro: Vec<String>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Set a variable for the first program
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Host name, if not the machine's name
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Time zone: that of the host if the tree has none (auto), the tree's own (keep), or a name like Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "auto")]
    pub(crate) timezone: String,
    /// Whether to use a user namespace; auto falls back, with the reason, where kernel or file system cannot
    #[arg(long, value_enum, default_value_t = UserNamespace::Auto)]
    pub(crate) userns: UserNamespace,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkArg {
    /// Its own, with a loopback device only
    None,
    /// The host's
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UserNamespace {
    /// Where possible
    Auto,
    /// Always, or fail
    Yes,
    /// Never
    No,
}

/// Boot a distribution's init, attached to its console
///
/// SOURCE is a directory, a tarball (plain or compressed, - for standard input), an OCI, Docker, LXD or App Container image,
/// a squashfs, an image of the store (its ID), or an existing machine. The tree is not written to: changes go to a layer of the machine's own.
#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// What to boot
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// Arguments for the init, those with dashes after --
    #[arg(value_name = "INIT-ARGS")]
    pub(crate) init_args: Vec<String>,
    /// Name of the machine; without it, one is made from SOURCE
    #[arg(long, short = 'n')]
    pub(crate) name: Option<MachineName>,
    /// Return when the machine is ready instead of attaching to its console
    #[arg(long, short = 'd')]
    pub(crate) detach: bool,
    /// How long --detach waits for the machine to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) writes: Writes,
    /// Start this program of the tree as init; its arguments follow SOURCE
    #[arg(long, value_name = "PATH")]
    pub(crate) init: Option<String>,
    /// Start it below a stub init instead of as PID 1
    #[arg(long)]
    pub(crate) as_pid2: bool,
    /// Container system to boot it in; without it, repot's own, or the one that the machine was made for
    #[arg(long, value_name = "ENGINE", value_parser = crate::engines::parser())]
    pub(crate) on: Option<String>,
    /// Start it as the container system's own documentation has it, with nothing that repot knows: for comparison
    #[arg(long, hide = true, requires = "on")]
    pub(crate) unaided: bool,
    #[command(flatten)]
    pub(crate) environment: Environment,
    #[command(flatten)]
    pub(crate) wishes: WishArgs,
    /// Lay nothing over the tree that rules ask for: boot it as it is
    #[arg(long, conflicts_with_all = ["root_password", "root_password_hash", "autologin"])]
    pub(crate) no_fix: bool,
    /// Say what would be done, and why, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: as JSON
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
}

/// Run a command in a tree: the better chroot
///
/// Without COMMAND, root's shell. Its writes are forgotten at the end, unless the machine has a --name or --in-place is
/// given. The exit status is that of the command.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where to run it
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// What to run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// Name of the machine; its writes are kept then
    #[arg(long, short = 'n')]
    pub(crate) name: Option<MachineName>,
    #[command(flatten)]
    pub(crate) writes: Writes,
    /// Make the command itself PID 1, instead of a stub init above it
    #[arg(long, conflicts_with = "as_pid2")]
    pub(crate) as_pid1: bool,
    /// Let chroot or nspawn run it, instead of repot itself
    #[arg(long, value_name = "ENGINE", value_parser = crate::engines::parser(), conflicts_with_all = ["as_pid1", "as_pid2"])]
    pub(crate) on: Option<String>,
    /// Put a stub init at PID 1, which reaps orphans and passes signals on (this is the default)
    #[arg(long)]
    pub(crate) as_pid2: bool,
    #[command(flatten)]
    pub(crate) environment: Environment,
    /// Say what would be done, and why, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: as JSON
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
}

/// Show a machine's console and type on it
#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) name: MachineName,
}

/// Log in on a fresh terminal of a machine
///
/// Starts the distribution's own login program; needs nothing of its init. Root gets in without a password, since whoever
/// may run this command could take it anyway; --prompt asks for name and password as on a real terminal.
#[derive(Debug, Args)]
pub(crate) struct Login {
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) name: MachineName,
    /// Who logs in
    #[arg(long, short = 'u', default_value = "root", conflicts_with = "prompt")]
    pub(crate) user: String,
    /// Show a login prompt and ask for the password
    #[arg(long, short = 'p')]
    pub(crate) prompt: bool,
}

/// Open a user's login shell in a machine, or run a command in one
#[derive(Debug, Args)]
pub(crate) struct Shell {
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) name: MachineName,
    /// Whose shell
    #[arg(long, short = 'u', default_value = "root")]
    pub(crate) user: String,
    /// Set a variable
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A command for the shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Run a command in a machine, without a shell
///
/// Standard output and error stay apart, the exit status is the command's. It gets a terminal if standard input and output
/// are one.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// As which user
    #[arg(long, short = 'u', default_value = "root")]
    pub(crate) user: String,
    /// Set a variable
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Where to run it
    #[arg(long, short = 'w', value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,
    /// Give it a terminal
    #[arg(long, short = 't', overrides_with = "no_tty")]
    pub(crate) tty: bool,
    /// Give it no terminal
    #[arg(long, short = 'T')]
    pub(crate) no_tty: bool,
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) name: MachineName,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// List machines
#[derive(Debug, Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Only those that run
    #[arg(long)]
    pub(crate) running: bool,
    /// Also what the container systems of this host have by themselves
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
}

/// Tell what a machine is and does
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    pub(crate) name: MachineName,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what machines use: processors, memory, processes, disks
///
/// On a terminal again and again, until q is pressed; else once.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Which; without a name, all that run
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) names: Vec<MachineName>,
    /// Once, also on a terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// As JSON, once
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a machine's console has shown since its boot
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[arg(add = ArgValueCompleter::new(complete::machines))]
    pub(crate) name: MachineName,
    /// Go on showing it
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Only so many lines from the end
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) lines: Option<usize>,
}

/// Ask machines to power off, each init in its own way
///
/// An init that does not listen in time is killed, which is said, with exit code 1.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[arg(required_unless_present = "all", add = ArgValueCompleter::new(complete::running))]
    pub(crate) names: Vec<MachineName>,
    /// All machines that run
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Seconds before it is killed, instead of what its init is known to need
    #[arg(long, short = 't', value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

/// Ask a machine to restart
#[derive(Debug, Args)]
pub(crate) struct Reboot {
    #[arg(add = ArgValueCompleter::new(complete::running))]
    pub(crate) name: MachineName,
    /// Seconds before it is killed and restarted
    #[arg(long, short = 't', value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Wait until it is ready again
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Send a signal to a machine's init; without --signal, end the machine at once
#[derive(Debug, Args)]
pub(crate) struct Kill {
    #[arg(required = true, add = ArgValueCompleter::new(complete::running))]
    pub(crate) names: Vec<MachineName>,
    /// Name or number of the signal
    #[arg(long, short = 's', default_value = "SIGKILL")]
    pub(crate) signal: Signal,
}

/// Forget machines and what they wrote
#[derive(Debug, Args)]
pub(crate) struct Rm {
    #[arg(required = true, add = ArgValueCompleter::new(complete::machines))]
    pub(crate) names: Vec<MachineName>,
    /// Kill them first if they run
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
}

/// Unpack a tarball or an image into the store
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A tarball, an OCI, Docker, LXD or App Container image, a squashfs, or - for standard input
    pub(crate) source: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the images of the store, or remove some
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Remove these images
    #[arg(long, value_name = "IMAGE", num_args = 1.., add = ArgValueCompleter::new(complete::images))]
    pub(crate) rm: Vec<String>,
}

/// Say what a tree is, with evidence
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub(crate) source: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write man pages, shell completions, or the pages of the rules
#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[arg(value_enum)]
    pub(crate) what: Generated,
    /// Where to
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    Man,
    Completions,
    /// The pages under docs/rules
    Rules,
}
