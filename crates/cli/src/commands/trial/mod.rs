//! `repot try`: boots a tree for real in each container system of this host, logs in, shuts down, and prints the table.
//!
//! Each cell goes the way of a user: `repot boot --detach`, the console, `repot stop`. The machines are ephemeral, and root's
//! password in them is made up for the purpose, so that a locked root is no obstacle.

mod cell;
mod html;

use crate::args::{NetworkArg, Try};
use crate::engines::{Chosen, native};
use crate::machines::{self, Purpose};
use crate::mending::Mending;
use crate::{emulation, exit, output, sources};
use anyhow::{Context, anyhow};
use cell::{Cell, Guard};
use repot_engines::{Host, Usable};
use repot_model::{Facts, Finding, HintExt};
use repot_runtime::{Dirs, registry};
use serde::Serialize;
use std::time::Duration;

/// What came of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Root logged in and ran a command.
    Login,
    /// A prompt came, but nobody got in.
    Prompt,
    /// It started, but no prompt came.
    NoPrompt,
    /// It did not start.
    Failed,
    /// The engine is not here, or cannot be used.
    Unavailable,
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Prompt => "prompt",
            Self::NoPrompt => "no-prompt",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One row of the table; `--json` is an array of them.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    engine: String,
    version: Option<String>,
    result: Outcome,
    seconds_to_prompt: Option<f64>,
    stop_clean: Option<bool>,
    /// Paths that were laid over the tree, with the reason.
    edits: Vec<Edited>,
    findings: Vec<Finding>,
    /// What went wrong, or why it is not available.
    note: Option<String>,
    /// With --before: what the engine's own obvious command came to on the tree as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
}

#[derive(Debug, Serialize)]
struct Edited {
    path: String,
    why: String,
}

/// The engine by itself.
#[derive(Debug, Serialize)]
pub(crate) struct Before {
    pub(crate) command: String,
    pub(crate) result: Outcome,
    pub(crate) seconds_to_prompt: Option<f64>,
    pub(crate) note: Option<String>,
}

pub(crate) fn run(args: &Try) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let tree = sources::resolve(&dirs, &args.source)?;
    let (root, facts) = machines::inspect(&tree.base, Purpose::Boot)?;
    emulation::check(&root, &facts)?;
    let host = Host::look();
    let mut mending = Mending::new(native(&host, NetworkArg::None));
    let looked = mending.look_again(&root, &facts);
    let shown = looked.as_ref().map_or(&facts, |looked| &looked.facts);
    if shown.init.is_none() {
        return Err(anyhow!(
            "{} in {} has no init that could be booted",
            facts.distribution.name,
            tree.source
        ))
        .hint(format!("`repot doctor {}` tells more", tree.source))
        .map_err(Into::into);
    }
    let guard = Guard::new()?;
    let chosen = match args.on.as_slice() {
        [] => Chosen::all(),
        names => names
            .iter()
            .map(|name| Chosen::named(name))
            .collect::<anyhow::Result<_>>()?,
    };
    let mut rows = Vec::new();
    for chosen in chosen {
        let found = chosen.discover(&host);
        let offers = chosen.offers(&host, &found, NetworkArg::None);
        let mut mending = Mending::new(offers.clone());
        let (diagnosis, _) = match mending.look_again(&root, &facts) {
            Some(looked) => mending.diagnose(&looked.root, &looked.facts),
            None => mending.diagnose(&root, &facts),
        };
        let edits = diagnosis
            .automatic()
            .map(|edit| Edited {
                path: edit.path.clone(),
                why: edit.why.clone(),
            })
            .collect();
        let mut row = Row {
            engine: chosen.id().0,
            version: found.version.clone(),
            result: Outcome::Unavailable,
            seconds_to_prompt: None,
            stop_clean: None,
            edits,
            findings: diagnosis.findings,
            note: None,
            before: None,
        };
        match &found.state {
            _ if !offers.is_pid1 => {
                row.note =
                    Some("no init can be booted there (`repot explain init-process`)".into());
            }
            Usable::Yes => {
                let timeout = Duration::from_secs(args.timeout);
                let cell = Cell::new(&dirs, &tree, &row.engine, timeout, &guard)?;
                if args.before && matches!(chosen, Chosen::Other(_)) {
                    progress(args, &row.engine, "by itself");
                    row.before = cell.before()?;
                }
                progress(args, &row.engine, "booting");
                cell.fill(&mut row)?;
            }
            Usable::Missing { hint } => row.note = Some(format!("not installed: {hint}")),
            Usable::No { why, hint } => row.note = Some(format!("{why}: {hint}")),
        }
        rows.push(row);
    }
    // First, in case that the page cannot be written.
    if args.json {
        output::json(&rows)?;
    } else {
        show(shown, &rows, args.before);
    }
    if let Some(path) = &args.html {
        let page = html::page(&tree.source, shown, &rows);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, page)
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if is_good(&rows, !args.on.is_empty()) {
        0
    } else {
        exit::FINDINGS
    })
}

/// Whether root got in and each stop was clean, wherever it could be tried: somewhere at least, and wherever the user has named.
fn is_good(rows: &[Row], are_named: bool) -> bool {
    let mut tried = rows
        .iter()
        .filter(|row| are_named || row.result != Outcome::Unavailable)
        .peekable();
    tried.peek().is_some()
        && tried.all(|row| row.result == Outcome::Login && row.stop_clean == Some(true))
}

/// A line per engine while it goes on, for whoever watches.
fn progress(args: &Try, engine: &str, what: &str) {
    use std::io::IsTerminal;
    if !args.json && std::io::stderr().is_terminal() {
        output::note(format!("repot: {engine}: {what} ..."));
    }
}

fn show(facts: &Facts, rows: &[Row], before: bool) {
    let init = facts
        .init
        .as_ref()
        .map_or("no init", |init| init.name.as_str());
    output::line(format!("{} with {init}", facts.distribution.name));
    let mut header = vec!["ENGINE", "VERSION"];
    if before {
        header.push("BY ITSELF");
    }
    header.extend(["RESULT", "PROMPT", "STOP", "EDITS", "NOTE"]);
    let mut table = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let mut cells = vec![
            row.engine.clone(),
            row.version.clone().unwrap_or_else(|| "-".into()),
        ];
        if before {
            cells.push(
                row.before
                    .as_ref()
                    .map_or("-", |before| before.result.text())
                    .to_owned(),
            );
        }
        cells.extend([
            row.result.text().to_owned(),
            seconds(row.seconds_to_prompt),
            stop(row.stop_clean).to_owned(),
            row.edits.len().to_string(),
            row.note.clone().unwrap_or_default(),
        ]);
        table.push(cells);
    }
    output::table(&table);
}

pub(crate) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.1} s"))
}

pub(crate) fn stop(clean: Option<bool>) -> &'static str {
    match clean {
        Some(true) => "clean",
        Some(false) => "killed",
        None => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_tried_is_nothing_good() {
        let row = |result| Row {
            engine: "x".into(),
            version: None,
            result,
            seconds_to_prompt: None,
            stop_clean: Some(true),
            edits: Vec::new(),
            findings: Vec::new(),
            note: None,
            before: None,
        };
        let rows = |results: &[Outcome]| results.iter().map(|it| row(*it)).collect::<Vec<_>>();
        let (login, away) = (Outcome::Login, Outcome::Unavailable);
        assert!(is_good(&rows(&[login, away]), false));
        assert!(!is_good(&rows(&[login, away]), true));
        assert!(!is_good(&rows(&[away]), false));
        assert!(!is_good(&rows(&[login, Outcome::Prompt]), false));
    }
}
