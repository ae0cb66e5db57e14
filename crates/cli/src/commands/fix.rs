//! `repot fix`: the edits of the rules written into a tree, shown, or undone.

use crate::args::Fix;
use crate::diff;
use crate::engines::Chosen;
use crate::install::{self, Act};
use crate::machines::{self, Purpose};
use crate::mending::{Mending, wishes};
use crate::{exit, output, sources};
use anyhow::{Context, anyhow};
use repot_engines::Host;
use repot_model::{Edit, Finding, HintExt, Remedy, RuleId, Severity, shell_word};
use repot_rootfs::fix::{Force, Journal, apply, undo};
use repot_rootfs::{Error, Root};
use repot_runtime::{Dirs, registry};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `repot fix --json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    source: &'a str,
    engine: &'a str,
    dry_run: bool,
    /// What is mended, or would be.
    mended: Vec<Row<'a>>,
    /// What is not: the environment takes care of it, it was not asked for, or it cannot be.
    left: Vec<Row<'a>>,
    unchecked: Vec<&'a str>,
    changed: Vec<String>,
    diff: String,
}

/// A finding without its edits, which may hold what is nobody's business.
#[derive(Debug, Serialize)]
struct Row<'a> {
    rule: &'a RuleId,
    severity: Severity,
    remedy: Remedy,
    summary: &'a str,
    hint: Option<&'a str>,
}

/// `repot fix --undo --json`.
#[derive(Debug, Serialize)]
struct UndoDocument<'a> {
    version: u32,
    source: &'a str,
    restored: Vec<String>,
    left: Vec<String>,
}

pub(crate) fn run(args: &Fix) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let base = base(&dirs, &args.source, args.dry_run)?;
    if !args.dry_run {
        check_unused(&dirs, &base)?;
    }
    if args.undo {
        return run_undo(&dirs, args, &base);
    }
    if args.install {
        let act = if args.dry_run {
            Act::SayOnly
        } else {
            Act::Really
        };
        install::install(&base, act)?;
    }
    let host = Host::look();
    let chosen = Chosen::named(&args.engine)?;
    let found = chosen.discover(&host);
    let mut offers = chosen.offers(&host, &found, args.network);
    offers.sys = offers.sys.without_repot();
    let wishes = wishes(&args.wishes)?;
    let secret = wishes.root_password_hash.clone();
    let ids = |names: &[String]| names.iter().cloned().map(RuleId).collect();
    let mut mending = Mending {
        wishes,
        only: ids(&args.only),
        except: ids(&args.except),
        ..Mending::new(offers)
    };
    let (root, facts) = machines::inspect(&base, Purpose::Boot)?;
    let looked = mending.look_again(&root, &facts);
    let (diagnosis, picked) = match &looked {
        Some(looked) => mending.diagnose(&looked.root, &looked.facts),
        None => mending.diagnose(&root, &facts),
    };
    let (mended, left): (Vec<_>, Vec<_>) = diagnosis
        .findings
        .iter()
        .zip(picked)
        .partition(|(finding, is_picked)| *is_picked && !finding.edits.is_empty());
    let strip = |pairs: Vec<(_, bool)>| -> Vec<&Finding> {
        pairs.into_iter().map(|(finding, _)| finding).collect()
    };
    let (mended, left) = (strip(mended), strip(left));
    let edits: Vec<Edit> = mended
        .iter()
        .flat_map(|finding| finding.edits.clone())
        .collect();
    let shown = diff::unified(&root, &edits, secret.as_deref().as_slice());
    let mut changed = Vec::new();
    if !args.dry_run && !edits.is_empty() {
        changed = write(&dirs, &base, &edits).hint(format!(
            "`{}` puts back what was changed",
            undo_command(args)
        ))?;
    }
    if args.json {
        output::json(&Document {
            version: output::JSON_VERSION,
            source: &args.source,
            engine: &args.engine,
            dry_run: args.dry_run,
            mended: mended.iter().map(|finding| row(finding)).collect(),
            left: left.iter().map(|finding| row(finding)).collect(),
            unchecked: diagnosis
                .unchecked
                .iter()
                .map(|(rule, _)| rule.0.as_str())
                .collect(),
            changed: changed.clone(),
            diff: shown.clone(),
        })?;
    } else {
        show(args, &mended, &left, &changed, &shown);
        for (rule, why) in &diagnosis.unchecked {
            output::note(format!("repot: rule {rule} could not check: {why}"));
        }
    }
    let is_incomplete =
        !diagnosis.unchecked.is_empty() || left.iter().any(|left| is_in_the_way(left));
    let would_change = args.dry_run && !shown.is_empty();
    Ok(if is_incomplete || would_change {
        exit::FINDINGS
    } else {
        0
    })
}

/// The directory that is written to.
fn base(dirs: &Dirs, source: &str, is_dry_run: bool) -> anyhow::Result<PathBuf> {
    if source == "-" || Path::new(source).is_file() {
        return Err(anyhow!(
            "{source} is no directory, and only one can be written to"
        ))
        .hint("unpack it first; `repot boot` takes it as it is and lays the changes over it")
        .map_err(Into::into);
    }
    let base = sources::resolve(dirs, source)?.base;
    if base.starts_with(dirs.data.join("images")) && !is_dry_run {
        return Err(anyhow!(
            "{source} is an image of the store, which stays as it was imported"
        ))
        .hint("`repot boot` lays the changes over it")
        .map_err(Into::into);
    }
    Ok(base)
}

/// What lies below an overlay may not change while it is mounted (overlayfs.rst, "Changes to underlying filesystems").
fn check_unused(dirs: &Dirs, base: &Path) -> anyhow::Result<()> {
    for name in registry::names(dirs) {
        let Some(state) = registry::running(dirs, &name) else {
            continue;
        };
        if state.spec.root.base == base {
            return Err(anyhow!("machine {name} runs on {}", base.display()))
                .hint(format!("`repot stop {name}` first"))
                .map_err(Into::into);
        }
    }
    Ok(())
}

fn fixes(dirs: &Dirs) -> PathBuf {
    dirs.data.join("fixes")
}

fn write(dirs: &Dirs, base: &Path, edits: &[Edit]) -> anyhow::Result<Vec<String>> {
    let fixes = fixes(dirs);
    registry::make_private_dir(&fixes)?;
    let root = Root::open(base)?;
    let mut journal = Journal::open(&fixes, &root)?;
    let applied = apply(&root, edits, &mut journal)
        .with_context(|| format!("writing into {}", base.display()))?;
    Ok(applied.changed)
}

fn run_undo(dirs: &Dirs, args: &Fix, base: &Path) -> anyhow::Result<u8> {
    let root = Root::open(base)?;
    let force = if args.force { Force::Yes } else { Force::No };
    let undone = match Journal::open_existing(&fixes(dirs), &root)? {
        None => {
            output::note(format!("repot: nothing is recorded for {}", base.display()));
            Default::default()
        }
        Some(journal) => match undo(&root, journal, force) {
            Err(error @ Error::Changed { .. }) => {
                return Err(error)
                    .hint("--force puts them back all the same; nothing was undone")
                    .map_err(Into::into);
            }
            other => other.with_context(|| format!("putting {} back", base.display()))?,
        },
    };
    let is_whole = undone.left.is_empty();
    if args.json {
        output::json(&UndoDocument {
            version: output::JSON_VERSION,
            source: &args.source,
            restored: undone.restored,
            left: undone.left,
        })?;
    } else {
        for path in &undone.restored {
            output::line(format!("{path} is as it was"));
        }
        for path in &undone.left {
            output::line(format!("{path} was left alone: it holds something new"));
        }
    }
    Ok(if is_whole { 0 } else { exit::FINDINGS })
}

fn undo_command(args: &Fix) -> String {
    format!("repot fix {} --undo", shell_word(&args.source))
}

fn row<'a>(finding: &'a Finding) -> Row<'a> {
    Row {
        rule: &finding.rule,
        severity: finding.severity,
        remedy: finding.remedy,
        summary: &finding.summary,
        hint: finding.hint.as_deref(),
    }
}

/// Whether nobody takes care of something without which it does not boot or let one in.
fn is_in_the_way(finding: &Finding) -> bool {
    let is_bad = matches!(finding.severity, Severity::NoBoot | Severity::NoLogin);
    is_bad && finding.remedy != Remedy::Environment
}

fn show(args: &Fix, mended: &[&Finding], left: &[&Finding], changed: &[String], diff: &str) {
    if args.dry_run {
        output::text(diff);
    }
    let say = |text: String| match args.dry_run {
        // Standard output is the diff alone, for patch(1).
        true => output::note(text),
        false => output::line(text),
    };
    for finding in mended {
        let verb = if args.dry_run { "mends" } else { "mended" };
        say(format!("{verb} {}: {}", finding.rule, finding.summary));
    }
    for path in changed {
        say(format!("    {path}"));
    }
    for finding in left {
        let Row { rule, summary, .. } = row(finding);
        match finding.remedy {
            Remedy::Environment => continue,
            Remedy::Automatic => say(format!("left {rule}: {summary}")),
            Remedy::Asked | Remedy::Manual => {
                let hint = finding.hint.as_deref().unwrap_or_default();
                say(format!("left {rule} ({}): {summary}", finding.remedy));
                if !hint.is_empty() {
                    say(format!("    {hint}"));
                }
            }
        }
    }
    if mended.is_empty() {
        say("nothing to be mended".into());
    } else if !args.dry_run {
        say(format!("`{}` puts everything back", undo_command(args)));
    }
}
