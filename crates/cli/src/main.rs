//! `repot` for people: parses, matches on the verb, calls the libraries, prints errors once, returns an exit code.
#![forbid(unsafe_code)]

mod adapt;
mod args;
mod commands;
mod complete;
mod diff;
mod emulation;
mod engines;
mod handing;
mod install;
mod limits;
mod machines;
mod mending;
mod output;
mod packages;
mod password;
mod policy;
mod sessions;
mod shell_mode;
mod sources;

use args::{Cli, Verb};
use clap::{CommandFactory, Parser};
use repot_runtime::{Dirs, rootless};
use std::process::ExitCode;

/// Exit codes besides those that `run`, `exec`, `shell` and `login` pass through. Documented in the man page.
pub(crate) mod exit {
    /// Something was found (`doctor`) or had to be forced (`stop`).
    pub(crate) const FINDINGS: u8 = 1;
    /// The command did not do what it was asked for.
    pub(crate) const FAILURE: u8 = 3;
    /// `run`, `exec`, `shell`, `login`: repot itself failed, as `docker run` has it.
    pub(crate) const OWN_FAILURE: u8 = 125;
    /// The program is there but cannot be executed.
    pub(crate) const CANNOT_EXECUTE: u8 = 126;
    /// There is no such program.
    pub(crate) const NOT_FOUND: u8 = 127;
}

fn main() -> ExitCode {
    // Layers and state have the modes that they are given, whatever the user's umask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Whoever has started this may have blocked them: a supervisor, `repot try`.
    repot_runtime::hear_signals();
    // Started anew by way of /proc/self/exe, it would be called "exe".
    let _ = rustix::thread::set_name(c"repot");
    if let Some(code) = commands::internal::dispatch(std::env::args_os()) {
        return code;
    }
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output; a closed pipe there is no failure either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("REPOT_LOG").unwrap_or_default(),
        )
        .init();
    let passes_status = cli.verb.passes_status();
    let result = settle(&cli.verb).and_then(|()| run(cli.verb));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(output::error(&error, passes_status)),
    }
}

/// Sees to it that machines cannot change this program. Without root: checks where state is kept, and goes on in a user
/// namespace where the verb needs one.
fn settle(verb: &Verb) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        if verb.executes_in_machines() {
            repot_runtime::protect_own_program()?;
        }
        return Ok(());
    }
    let dirs = Dirs::from_env();
    rootless::check_run_dir(&dirs)?;
    if verb.touches_trees() {
        return Err(rootless::enter(&dirs).into());
    }
    if verb.executes_in_machines() {
        repot_runtime::protect_own_program()?;
    }
    Ok(())
}

fn run(verb: Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Boot(args) => commands::boot::run(args),
        Verb::Run(args) => commands::run::run(args),
        Verb::Attach(args) => commands::attach::run(&args),
        Verb::Login(args) => commands::login::run(&args),
        Verb::Shell(args) => commands::shell::run(args),
        Verb::Exec(args) => commands::exec::run(args),
        Verb::List(args) => commands::list::run(&args),
        Verb::Status(args) => commands::status::run(&args),
        Verb::Top(args) => commands::top::run(&args),
        Verb::Logs(args) => commands::logs::run(&args),
        Verb::Stop(args) => commands::stop::run(&args),
        Verb::Reboot(args) => commands::reboot::run(&args),
        Verb::Kill(args) => commands::kill::run(&args),
        Verb::Rm(args) => commands::rm::run(&args),
        Verb::Import(args) => commands::import::run(&args),
        Verb::Export(args) => commands::export::run(&args),
        Verb::Images(args) => commands::images::run(&args),
        Verb::Inspect(args) => commands::inspect::run(&args),
        Verb::Doctor(args) => commands::doctor::run(&args),
        Verb::Fix(args) => commands::fix::run(&args),
        Verb::Explain(args) => commands::explain::run(&args),
        Verb::ByHand(args) => commands::command::run(&args),
        Verb::Try(args) => commands::trial::run(&args),
        Verb::Generate(args) => commands::generate::run(&args),
    }
}
