//! `repot generate`: man pages and shell completions, from the definition of the command line; pages of the rules, from theirs.

use crate::args::{Cli, Generate, Generated};
use anyhow::Context;
use clap::CommandFactory;

pub(crate) fn run(args: &Generate) -> anyhow::Result<u8> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("creating {}", args.dir.display()))?;
    match args.what {
        Generated::Man => clap_mangen::generate_to(Cli::command(), &args.dir)?,
        Generated::Rules => crate::commands::explain::write_pages(&args.dir)?,
        Generated::Completions => {
            // The scripts ask repot itself at each completion, so that they know the machines' names.
            for (shell, file) in [
                ("bash", "repot.bash"),
                ("zsh", "_repot"),
                ("fish", "repot.fish"),
            ] {
                let shells = clap_complete::env::Shells::builtins();
                let completer = shells
                    .completer(shell)
                    .with_context(|| format!("no completion for {shell}"))?;
                let mut script = Vec::new();
                completer.write_registration("COMPLETE", "repot", "repot", "repot", &mut script)?;
                std::fs::write(args.dir.join(file), script)?;
            }
        }
    }
    Ok(0)
}
