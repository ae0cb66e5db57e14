//! `repot doctor`: every reason why a tree would not boot or not let one in, before anything is started.

use crate::args::Doctor;
use crate::commands::doctor_host;
use crate::engines::Chosen;
use crate::machines::{self, Purpose};
use crate::mending::Mending;
use crate::{exit, output, sources};
use anyhow::bail;
use repot_doctor::log_book::{Seen, probable_causes};
use repot_doctor::rules::Diagnosis;
use repot_engines::{Discovery, Host, Usable};
use repot_model::{Change, Evidence, Facts, Finding, Offers, Remedy};
use repot_runtime::{Dirs, registry};
use serde::Serialize;

/// `repot doctor --json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    source: &'a str,
    engines: Vec<Examined<'a>>,
    log: Vec<LogRow<'a>>,
}

/// A tree in one engine.
#[derive(Debug, Serialize)]
struct Examined<'a> {
    engine: String,
    available: bool,
    findings: &'a [Finding],
    unchecked: Vec<Unchecked<'a>>,
}

/// A rule that could not be applied.
#[derive(Debug, Serialize)]
struct Unchecked<'a> {
    rule: &'a str,
    why: &'a str,
}

/// A line of the console log that tells something.
#[derive(Debug, Serialize)]
struct LogRow<'a> {
    line: usize,
    text: &'a str,
    cause: &'static str,
    remedy: &'static str,
    rule: Option<&'static str>,
}

pub(crate) fn run(args: &Doctor) -> anyhow::Result<u8> {
    if args.host {
        return doctor_host::run(args.json);
    }
    let Some(source) = &args.source else {
        bail!("name a tree, or --host");
    };
    let dirs = Dirs::from_env();
    let tree = sources::resolve(&dirs, source)?;
    let (root, facts) = machines::inspect(&tree.base, Purpose::Boot)?;
    let host = Host::look();
    let chosen = match args.engine.as_str() {
        "all" => Chosen::all(),
        name => vec![Chosen::named(name)?],
    };
    let examined: Vec<(Chosen, Discovery, Offers, Diagnosis)> = chosen
        .into_iter()
        .map(|chosen| {
            let found = chosen.discover(&host);
            let offers = chosen.offers(&host, &found, args.network);
            let mut mending = Mending::new(offers.clone());
            let (diagnosis, _) = match mending.look_again(&root, &facts) {
                Some(looked) => mending.diagnose(&looked.root, &looked.facts),
                None => mending.diagnose(&root, &facts),
            };
            (chosen, found, offers, diagnosis)
        })
        .collect();
    // What a machine of this tree has said counts too.
    let seen = tree
        .machine
        .as_ref()
        .map(|record| probable_causes(&console_log(&dirs, &record.name)))
        .unwrap_or_default();
    if args.json {
        output::json(&document(source, &examined, &seen))?;
    } else {
        if examined.len() > 1 {
            table(&examined);
        }
        for (chosen, found, _, diagnosis) in &examined {
            show(&facts, *chosen, found, diagnosis, examined.len() > 1);
        }
        show_log(&seen);
    }
    let found = !seen.is_empty()
        || examined.iter().any(|(_, _, _, diagnosis)| {
            !diagnosis.findings.is_empty() || !diagnosis.unchecked.is_empty()
        });
    Ok(if found { exit::FINDINGS } else { 0 })
}

/// What the console of a machine has shown, running or not.
pub(crate) fn console_log(dirs: &Dirs, name: &repot_model::MachineName) -> Vec<u8> {
    match registry::running(dirs, name) {
        Some(state) => crate::commands::logs::read(dirs, &state.spec),
        None => crate::commands::logs::read_from(dirs.machine(name)),
    }
}

/// The most probable cause in a console log, in one sentence with its line.
pub(crate) fn probable_cause(log: &[u8]) -> Option<(String, String)> {
    let seen = probable_causes(log).into_iter().next()?;
    Some((
        format!(
            "probably because {} (line {} of its console: {})",
            seen.symptom.cause, seen.line, seen.text
        ),
        seen.symptom.remedy.to_owned(),
    ))
}

fn document<'a>(
    source: &'a str,
    examined: &'a [(Chosen, Discovery, Offers, Diagnosis)],
    seen: &'a [Seen],
) -> Document<'a> {
    Document {
        version: output::JSON_VERSION,
        source,
        engines: examined
            .iter()
            .map(|(chosen, found, _, diagnosis)| Examined {
                engine: chosen.id().0,
                available: found.state == Usable::Yes,
                findings: &diagnosis.findings,
                unchecked: diagnosis
                    .unchecked
                    .iter()
                    .map(|(rule, why)| Unchecked { rule: &rule.0, why })
                    .collect(),
            })
            .collect(),
        log: seen
            .iter()
            .map(|seen| LogRow {
                line: seen.line,
                text: &seen.text,
                cause: seen.symptom.cause,
                remedy: seen.symptom.remedy,
                rule: seen.symptom.rule,
            })
            .collect(),
    }
}

/// Engines by rules: what is wrong where, by its severity and who mends it.
fn table(examined: &[(Chosen, Discovery, Offers, Diagnosis)]) {
    let mut rules: Vec<&str> = Vec::new();
    for (_, _, _, diagnosis) in examined {
        for finding in &diagnosis.findings {
            if !rules.contains(&finding.rule.0.as_str()) {
                rules.push(&finding.rule.0);
            }
        }
    }
    if rules.is_empty() {
        return;
    }
    let mut rows = vec![
        std::iter::once("RULE".to_owned())
            .chain(examined.iter().map(|(chosen, ..)| chosen.id().0))
            .collect::<Vec<_>>(),
    ];
    for rule in rules {
        let cells = examined.iter().map(|(_, _, _, diagnosis)| {
            let mut found = diagnosis
                .findings
                .iter()
                .filter(|finding| finding.rule.0 == rule);
            found
                .next()
                .map_or_else(|| "-".to_owned(), |finding| mark(finding).to_owned())
        });
        rows.push(std::iter::once(rule.to_owned()).chain(cells).collect());
    }
    output::table(&rows);
    output::line("");
    output::line(
        "boot: boot gives the tree what it needs; mend: boot and fix edit a file; ask: mended on request; you: yours to mend",
    );
    output::line("");
}

fn mark(finding: &Finding) -> &'static str {
    match finding.remedy {
        Remedy::Environment => "boot",
        Remedy::Automatic => "mend",
        Remedy::Asked => "ask",
        Remedy::Manual => "you",
    }
}

fn show(
    facts: &Facts,
    chosen: Chosen,
    found: &Discovery,
    diagnosis: &Diagnosis,
    is_one_of_many: bool,
) {
    let engine = chosen.id();
    let init = facts
        .init
        .as_ref()
        .map_or("no init", |init| init.name.as_str());
    let here = match &found.state {
        Usable::Yes => String::new(),
        Usable::Missing { .. } => " (not installed here)".into(),
        Usable::No { why, .. } => format!(" (cannot be used here: {why})"),
    };
    let count = diagnosis.findings.len();
    let what = match count {
        0 => "nothing found".to_owned(),
        1 => "1 finding".to_owned(),
        _ => format!("{count} findings"),
    };
    output::line(format!(
        "{} with {init}, in {engine}{here}: {what}",
        facts.distribution.name
    ));
    if is_one_of_many {
        // The table has said which.
        return;
    }
    let mut findings: Vec<&Finding> = diagnosis.findings.iter().collect();
    findings.sort_by_key(|finding| finding.severity);
    for finding in findings {
        output::line("");
        show_finding(finding);
    }
    for (rule, why) in &diagnosis.unchecked {
        output::line("");
        output::line(format!("{rule}: could not check: {why}"));
    }
    if facts.init.is_none() {
        output::line("");
        output::line("not known: which program would be its init. Looked at:");
        for rejected in &facts.rejected_inits {
            output::line(format!("    {}", seen_at(rejected)));
        }
        if facts.rejected_inits.is_empty() {
            output::line(
                "    /sbin/init, /usr/sbin/init, /init, /bin/init and the usual places of known inits: none is there",
            );
        }
    }
    for unread in &facts.unread {
        output::line(format!("not read: {}", seen_at(unread)));
    }
}

fn show_finding(finding: &Finding) {
    output::line(format!(
        "{} [{}, {}, {}]",
        finding.summary, finding.severity, finding.certainty, finding.rule
    ));
    let row = |label: &str, text: &str| {
        if !text.is_empty() {
            output::line(format!("    {label:<10} {text}"));
        }
    };
    row("symptom", &finding.symptom);
    row("cause", &finding.cause);
    for (number, evidence) in finding.evidence.iter().enumerate() {
        row(if number == 0 { "seen" } else { "" }, &seen_at(evidence));
    }
    row("remedy", &finding.remedy.to_string());
    for edit in &finding.edits {
        row(
            "",
            &format!("{}: {} ({})", edit.path, edit.change.verb(), edit.why),
        );
    }
    if let Some(hint) = &finding.hint {
        row("to do", hint);
    }
}

/// What an edit does, in a word or two.
trait Verb {
    fn verb(&self) -> String;
}

impl Verb for Change {
    fn verb(&self) -> String {
        match self {
            Self::Write { .. } => "is written".into(),
            Self::Link { to } => format!("becomes a link to {to}"),
            Self::Directory { .. } => "is made".into(),
            Self::Remove => "goes".into(),
            Self::Mode { mode } => format!("gets mode {mode:o}"),
            Self::Owner { uid, gid } => format!("gets owner {uid}:{gid}"),
        }
    }
}

fn seen_at(evidence: &Evidence) -> String {
    let line = evidence
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    format!("{}{line}: {}", evidence.path, evidence.seen)
}

fn show_log(seen: &[Seen]) {
    if seen.is_empty() {
        return;
    }
    output::line("");
    output::line("on its console:");
    for seen in seen {
        output::line(format!("    line {}: {}", seen.line, seen.text));
        output::line(format!(
            "        {}; {}",
            seen.symptom.cause, seen.symptom.remedy
        ));
        if let Some(rule) = seen.symptom.rule {
            output::line(format!("        `repot explain {rule}` tells more"));
        }
    }
}
