//! Imports a source into a store and says what became of it: for benchmarks, and for tests that kill it.
//!
//! `import STATE-DIR SOURCE [record]`; the command line proper is `repot import`.

use repot_image::{Durability, ImportOptions, Silent, SourceRef, Store};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            // Nobody to tell if even this fails.
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [state_dir, source, rest @ ..] = &arguments[..] else {
        return Err("usage: import STATE-DIR SOURCE [record]".into());
    };
    let options = ImportOptions {
        durability: match rest {
            [] => Durability::Full,
            _ => Durability::Record,
        },
        ..ImportOptions::default()
    };
    let store = Store::open(Path::new(state_dir))?;
    let imported = store.import(&SourceRef::parse(source)?, &options, &Silent)?;
    let word = if imported.is_new { "new" } else { "known" };
    let out = &mut std::io::stdout();
    writeln!(out, "{word} {}", imported.image.rootfs().display())?;
    for warning in imported.image.record.unpacked.warnings() {
        writeln!(out, "{warning}")?;
    }
    Ok(())
}
