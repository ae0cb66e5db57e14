//! Everything that is printed: text for people, JSON for programs, errors with their hint. The only file that prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where printing happens"
)]

use crate::exit;
use repot_model::Hinted;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Version of every `--json` output. docs/json.md describes them.
pub(crate) const JSON_VERSION: u32 = 1;

/// Prints bytes to standard output. A closed pipe ends the output, not the command. Nothing is held back: a prompt at
/// the end has no newline, and `logs -f` goes on by writing to the descriptor itself.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints a line to standard output.
pub(crate) fn line(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", harmless(line.as_ref()));
}

/// Prints a message about what happens to standard error, where it does not mix with results.
pub(crate) fn note(note: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(note.as_ref()));
}

/// Prints a question to standard error, where the answer is typed behind it.
pub(crate) fn ask(question: &str) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{question}").and_then(|()| out.flush());
}

/// Prints a text of several lines: for a terminal without what may drive it, for a program as it is.
pub(crate) fn text(text: &str) {
    match std::io::stdout().is_terminal() {
        true => raw(harmless(text).as_bytes()),
        false => raw(text.as_bytes()),
    }
}

/// Prints a document as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(escaped(&serde_json::to_string_pretty(value)?));
    Ok(())
}

/// JSON without control characters beyond ASCII's first 32, which serde_json leaves in its strings.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Prints an error with its causes and at most one hint; returns the exit code.
pub(crate) fn error(error: &anyhow::Error, passes_status: bool) -> u8 {
    let mut text = String::new();
    for cause in error.chain().map(printable) {
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    note(format!("repot: {text}"));
    if let Some(hinted) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Hinted>())
    {
        note(format!("       {}", hinted.hint));
    }
    if passes_status {
        own_failure(error)
    } else {
        exit::FAILURE
    }
}

fn printable(cause: impl ToString) -> String {
    harmless(&cause.to_string().replace(['\n', '\r'], " "))
}

/// Texts may quote names from a tree: nothing in them may drive the terminal. A carriage return counts only before the end of a
/// line: alone it would write over what stands there.
pub(crate) fn harmless(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        let is_good = match c {
            '\n' | '\t' => true,
            '\r' => chars.peek() == Some(&'\n'),
            c => !c.is_control(),
        };
        out.push(if is_good { c } else { '\u{fffd}' });
    }
    out
}

fn own_failure(error: &anyhow::Error) -> u8 {
    let errno =
        error
            .chain()
            .find_map(|cause| match cause.downcast_ref::<repot_runtime::Error>() {
                Some(repot_runtime::Error::Exec { errno, .. }) => Some(*errno),
                _ => None,
            });
    match errno {
        Some(rustix::io::Errno::NOENT) => exit::NOT_FOUND,
        Some(_) => exit::CANNOT_EXECUTE,
        None => exit::OWN_FAILURE,
    }
}

/// A table for people: columns as wide as their widest cell, header first.
pub(crate) fn table(rows: &[Vec<String>]) {
    table_lines(rows).iter().for_each(line);
}

/// The lines of a table.
pub(crate) fn table_lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let padded = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(padded).collect()
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// Processor time as people say it.
pub(crate) fn cpu_time(us: u64) -> String {
    match us / 1_000_000 {
        seconds @ 0..60 => format!("{seconds}.{:02}s", us % 1_000_000 / 10_000),
        seconds => duration(seconds),
    }
}

/// What is used of what is allowed.
pub(crate) fn of_limit(used: impl std::fmt::Display, limit: Option<impl ToString>) -> String {
    match limit {
        Some(limit) => format!("{used} of {}", limit.to_string()),
        None => used.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(
            harmless("a\tb\r\nc\rd\u{1b}[2J\u{9b}m"),
            "a\tb\r\nc\u{fffd}d\u{fffd}[2J\u{fffd}m"
        );
        let text = serde_json::to_string("\u{7f}\u{9b}\u{1b}ä").unwrap();
        let plain = escaped(&text);
        assert_eq!(plain, r#""\u007f\u009b\u001bä""#);
        let back: String = serde_json::from_str(&plain).unwrap();
        assert_eq!(back, "\u{7f}\u{9b}\u{1b}ä");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [duration(5), duration(61), duration(7200), duration(90_000)],
            ["5s", "1m 1s", "2h 0m", "1d 1h"]
        );
        assert_eq!(
            [cpu_time(1_234_567), cpu_time(61_000_000)],
            ["1.23s", "1m 1s"]
        );
        assert_eq!(of_limit(5, Some(60)), "5 of 60");
    }
}
