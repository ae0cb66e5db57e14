//! The lists of modules in folders where one file is one extension: sorted, and the same as the folder.
//!
//! Only the `mod` lines are written. What a new file has to be entered in besides (a registry such as `INITS`) names a type,
//! which its author knows; unit tests compare those with the folder.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Whether lists are mended or only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// The files that declare a folder's modules; the folder is the file's own.
const LISTS: &[&str] = &[
    "crates/doctor/src/init/mod.rs",
    "crates/doctor/src/distro/mod.rs",
    "crates/doctor/src/login/mod.rs",
    "crates/doctor/src/rules/mod.rs",
    "crates/engines/src/lib.rs",
    "crates/image/src/source/mod.rs",
    "crates/cli/src/commands/mod.rs",
];

pub(crate) fn generate(root: &Path, mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for file in LISTS {
        let path = root.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        let modules = modules(path.parent().unwrap_or(root))?;
        let wanted = with_modules(&text, &modules)
            .with_context(|| format!("{file} has no block of mod lines"))?;
        if wanted == text {
            continue;
        }
        match mode {
            Mode::Check => stale.push(*file),
            Mode::Write => {
                std::fs::write(&path, wanted).with_context(|| format!("writing {file}"))?;
                println!("gen: rewrote {file}");
            }
        }
    }
    if !stale.is_empty() {
        bail!("{}: run `cargo xtask gen`", stale.join(", "));
    }
    println!("gen: {} lists of modules are complete", LISTS.len());
    Ok(())
}

/// The modules in a folder: files and folders, but for `mod.rs` and `lib.rs`.
fn modules(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let module = name.strip_suffix(".rs").or_else(|| {
            folder
                .join(&name)
                .join("mod.rs")
                .is_file()
                .then_some(&*name)
        });
        found.extend(
            module
                .filter(|module| !matches!(*module, "mod" | "lib"))
                .map(str::to_owned),
        );
    }
    Ok(found)
}

/// The text with its first block of consecutive `mod` lines replaced. Each keeps its visibility, new ones take the first's.
/// `None`: there is no such block.
fn with_modules(text: &str, modules: &BTreeSet<String>) -> Option<String> {
    let name = |line: &str| -> Option<(String, String)> {
        let (visibility, rest) = line.split_once("mod ")?;
        let name = rest.strip_suffix(';')?;
        (visibility.is_empty() || visibility.starts_with("pub"))
            .then(|| (visibility.to_owned(), name.to_owned()))
    };
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| name(line).is_some())?;
    let length = lines[start..]
        .iter()
        .take_while(|line| name(line).is_some())
        .count();
    let known: Vec<(String, String)> = lines[start..start + length]
        .iter()
        .filter_map(|line| name(line))
        .collect();
    let (first, _) = known.first()?;
    let block = modules.iter().map(|module| {
        let visibility = known
            .iter()
            .find(|(_, name)| name == module)
            .map_or(first, |(visibility, _)| visibility);
        format!("{visibility}mod {module};")
    });
    let before = lines[..start].iter().map(ToString::to_string);
    let after = lines[start + length..].iter().map(ToString::to_string);
    let all: Vec<String> = before.chain(block).chain(after).collect();
    Some(all.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_completed() {
        let text = "//! Doc.\n\nmod b;\npub(crate) mod a;\nmod gone;\n\nuse x;\n";
        let modules = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(
            with_modules(text, &modules).unwrap(),
            "//! Doc.\n\npub(crate) mod a;\nmod b;\nmod c;\n\nuse x;\n"
        );
        assert_eq!(with_modules("use x;\n", &modules), None);
    }
}
