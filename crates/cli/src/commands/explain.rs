//! `repot explain`: the rule book, for people; and its pages for docs/rules.

use crate::args::Explain;
use crate::output;
use anyhow::{Context, anyhow};
use repot_doctor::rules::{RULES, RuleMeta, rule};
use repot_model::{HintExt, Severity};
use serde::Serialize;
use std::path::Path;

/// A rule in `repot explain --json`.
#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    severity: Severity,
    summary: &'static str,
    explain: &'static str,
    sources: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    rules: Vec<Row>,
}

pub(crate) fn run(args: &Explain) -> anyhow::Result<u8> {
    let metas: Vec<&RuleMeta> = match &args.rule {
        Some(id) => {
            let known = rule(id)
                .ok_or_else(|| anyhow!("there is no rule called {id:?}"))
                .hint("`repot explain` lists them")?;
            vec![known.meta()]
        }
        None => sorted(),
    };
    if args.json {
        output::json(&Document {
            version: output::JSON_VERSION,
            rules: metas.iter().map(|meta| row(meta)).collect(),
        })?;
    } else if args.rule.is_some() {
        metas
            .iter()
            .for_each(|meta| output::line(page(meta).trim_end()));
    } else {
        let mut rows = vec![
            ["RULE", "AT WORST", "WHAT IS WRONG"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(metas.iter().map(|meta| {
            vec![
                meta.id.to_owned(),
                meta.severity.to_string(),
                meta.summary.to_owned(),
            ]
        }));
        output::table(&rows);
    }
    Ok(0)
}

fn row(meta: &RuleMeta) -> Row {
    Row {
        id: meta.id,
        severity: meta.severity,
        summary: meta.summary,
        explain: meta.explain,
        sources: meta.sources,
    }
}

fn sorted() -> Vec<&'static RuleMeta> {
    let mut metas: Vec<&RuleMeta> = RULES.iter().map(|rule| rule.meta()).collect();
    metas.sort_by_key(|meta| (meta.severity, meta.id));
    metas
}

/// A rule's page, in Markdown.
fn page(meta: &RuleMeta) -> String {
    let mut text = format!(
        "# {}\n\n{}. At worst: {}.\n\n{}\n\n## Sources\n\n",
        meta.id,
        sentence(meta.summary),
        meta.severity,
        meta.explain.trim()
    );
    for source in meta.sources {
        text.push_str(&format!("- {source}\n"));
    }
    text
}

/// The table of all rules.
fn index() -> String {
    let mut text = String::from(
        "# Rules\n\nThe known reasons why a tree does not boot or does not let you in. `repot doctor TREE --for ENGINE` says which apply,\n\
         `repot explain RULE` prints these pages. [Proofs](../proofs.md) has what was seen of each on a real boot. Made by `repot generate rules docs/rules` from\n\
         `crates/doctor/src/rules`.\n\n\
         | rule | at worst | what is wrong |\n| --- | --- | --- |\n",
    );
    for meta in sorted() {
        text.push_str(&format!(
            "| [{0}]({0}.md) | {1} | {2} |\n",
            meta.id, meta.severity, meta.summary
        ));
    }
    text
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// Every page with its file name.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), index())];
    pages.extend(
        sorted()
            .iter()
            .map(|meta| (format!("{}.md", meta.id), page(meta))),
    );
    pages
}

/// Writes the pages, and removes those of rules that are gone.
pub(crate) fn write_pages(dir: &Path) -> anyhow::Result<()> {
    let pages = pages();
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && !pages.iter().any(|(known, _)| *known == name) {
            std::fs::remove_file(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    for (name, text) in pages {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_docs_are_those_of_the_rules() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules");
        let mut names = Vec::new();
        for (name, text) in pages() {
            let written = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
            assert!(
                written == text,
                "docs/rules/{name} is stale: cargo run -p repot -- generate rules docs/rules"
            );
            names.push(name);
        }
        for entry in std::fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&name), "docs/rules/{name} is of no rule");
        }
    }
}
