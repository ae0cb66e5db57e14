//! `repot-trees`: builds the test trees and says where they are.
//!
//! `list`, `build [NAME...]`, `path NAME`, `tarball NAME EXTENSION`, `digest NAME|DIRECTORY`,
//! `prune` (removes trees of recipes that have changed).
//! A name may end in `+password` for the variant whose root can log in.
#![forbid(unsafe_code)]
// This is the one place of the kit that talks to a person.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use repot_e2e::digest::digest;
use repot_e2e::trees::{self, Compression, Tree};

const USAGE: &str = "usage: repot-trees list | build [NAME[+password]...] | path NAME[+password]
       repot-trees tarball NAME tar|tar.gz|tar.xz|tar.zst|tar.bz2 | digest NAME|DIRECTORY
       repot-trees prune";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["list"] => list(),
        ["build", names @ ..] => build(names),
        ["path", name] => tree(name)
            .and_then(|tree| tree.ensure())
            .map(|path| println!("{}", path.display())),
        ["tarball", name, extension] => tarball(name, extension),
        ["digest", place] => show_digest(place),
        ["prune"] => prune(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("repot-trees: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn tree(name: &str) -> Result<Tree> {
    match name.strip_suffix("+password") {
        Some(name) => Ok(Tree::named(name)?.with_password()),
        None => Tree::named(name),
    }
}

fn list() -> Result<()> {
    let others = trees::programs().chain(trees::broken());
    for recipe in trees::recipes().chain(others) {
        let tree = Tree::named(recipe.name)?;
        let built = if tree.is_built()? { "built" } else { "-" };
        println!("{:<20} {:<6} {}", recipe.name, built, recipe.about);
    }
    Ok(())
}

/// Builds what is named, or every tree, those with an init in both variants. One that fails does not keep the
/// others from being built.
fn build(names: &[&str]) -> Result<()> {
    let named: Vec<Tree> = names.iter().map(|name| tree(name)).collect::<Result<_>>()?;
    let every = trees::recipes().chain(trees::broken()).flat_map(|recipe| {
        let locked = Tree::named(recipe.name);
        let unlocked = Tree::named(recipe.name).map(Tree::with_password);
        [locked, unlocked]
    });
    let every = every.chain(trees::programs().map(|recipe| Tree::named(recipe.name)));
    let wanted = if names.is_empty() {
        every.collect::<Result<_>>()?
    } else {
        named
    };
    let mut failed = Vec::new();
    for tree in wanted {
        let start = Instant::now();
        match tree.ensure() {
            Ok(path) => println!("{} {:.1}s", path.display(), start.elapsed().as_secs_f32()),
            Err(error) => {
                eprintln!("repot-trees: {error:#}");
                failed.push(tree.label());
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("not built: {}", failed.join(", "))
    }
}

fn tarball(name: &str, extension: &str) -> Result<()> {
    let compression = Compression::ALL
        .into_iter()
        .find(|known| known.extension() == extension);
    let compression =
        compression.with_context(|| format!("{extension} is no kind of tarball\n{USAGE}"))?;
    println!("{}", tree(name)?.tarball(compression)?.display());
    Ok(())
}

fn show_digest(place: &str) -> Result<()> {
    let path = if Path::new(place).is_dir() {
        place.into()
    } else {
        tree(place)?.ensure()?
    };
    println!("{}", digest(&path)?);
    Ok(())
}

fn prune() -> Result<()> {
    for path in trees::prune()? {
        println!("removed {}", path.display());
    }
    Ok(())
}
