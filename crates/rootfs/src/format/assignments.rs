//! Files of `KEY=value` lines in shell quoting: os-release(5), `/etc/environment`, `/etc/conf.d/*`, `rc.conf`;
//! and of `KEY value` lines: login.defs(5).
//!
//! Only what a shell would take literally is understood: quotes and backslashes. `$VARIABLES` and command
//! substitutions stay as they are, for nothing of the tree is ever evaluated.

use super::{Lines, numbered};

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Left of the `=`.
    pub key: String,
    /// Right of it, without quotes.
    pub value: String,
    /// Line number from 1.
    pub line: u32,
}

/// Parses `KEY=value` lines. Later assignments to one key stay separate; a shell would let the last one win.
///
/// # Source
/// os-release(5): "a newline-separated list of environment-like shell-compatible variable assignments".
pub fn parse(text: &str) -> Vec<Assignment> {
    numbered(text)
        .filter_map(|(line, content)| {
            let content = content.trim();
            let content = content
                .strip_prefix("export ")
                .unwrap_or(content)
                .trim_start();
            let (key, value) = content.split_once('=')?;
            let is_name = !key.is_empty()
                && !key.starts_with(|c: char| c.is_ascii_digit())
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            is_name.then(|| Assignment {
                key: key.to_owned(),
                value: unquote(value),
                line,
            })
        })
        .collect()
}

/// Parses `KEY value` lines, blanks between, `#` comments: login.defs(5).
pub fn parse_blank_separated(text: &str) -> Vec<Assignment> {
    numbered(text)
        .filter_map(|(line, content)| {
            let content = content.trim();
            if content.starts_with('#') {
                return None;
            }
            let (key, value) = content.split_once(|c: char| c.is_whitespace())?;
            Some(Assignment {
                key: key.to_owned(),
                value: unquote(value),
                line,
            })
        })
        .collect()
}

/// The last value of `key`.
pub fn get<'a>(assignments: &'a [Assignment], key: &str) -> Option<&'a Assignment> {
    assignments.iter().rev().find(|known| known.key == key)
}

/// The text with `KEY=value` in the place of the last assignment to `key`, or added at its end. `value` is written as it is: quote
/// what needs it.
pub fn set(text: &str, key: &str, value: &str) -> String {
    let mut lines = Lines::parse(text);
    let known: Vec<Assignment> = parse(text)
        .into_iter()
        .filter(|known| known.key == key)
        .collect();
    // Only the last one counts.
    match known.last() {
        Some(last) if last.value == value => {}
        Some(last) => {
            let content = lines.get(last.line).unwrap_or_default();
            let before = content.split_once('=').map_or("", |(before, _)| before);
            let line = format!("{before}={value}");
            lines.replace(last.line, &line);
        }
        None => lines.push(&format!("{key}={value}")),
    }
    lines.to_string()
}

/// A value as a shell reads it, up to the first blank outside quotes.
fn unquote(value: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = value.trim().chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            // In double quotes the backslash stands for itself before other characters (sh(1)).
            (Some('"'), '\\') => match chars.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            (None, '\\') => out.extend(chars.next()),
            (None, '#') if out.ends_with(' ') => break,
            (_, c) => out.push(c),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_assignment_is_replaced() {
        let text = "# SELINUX=x\nSELINUX=permissive\n  SELINUX=enforcing # why\nT=1\n";
        assert_eq!(
            set(text, "SELINUX", "disabled"),
            "# SELINUX=x\nSELINUX=permissive\n  SELINUX=disabled\nT=1\n"
        );
        assert_eq!(set("A=1", "B", "2"), "A=1\nB=2");
        assert_eq!(set("A=1\r\n", "A", "1"), "A=1\r\n");
    }

    #[test]
    fn values_lose_their_quotes() {
        for (line, value) in [
            ("ID=debian", "debian"),
            ("ID=\"debian\"", "debian"),
            ("ID='a b'", "a b"),
            ("ID=\"a\\\"b\\$c\"", "a\"b$c"),
            ("ID=a\\ b", "a b"),
            ("export ID=x", "x"),
            ("ID=", ""),
            ("ID=\"open", "open"),
            ("ID=\"\\", "\\"),
        ] {
            let parsed = parse(line);
            assert_eq!(get(&parsed, "ID").unwrap().value, value, "{line}");
        }
    }

    #[test]
    fn other_lines_are_left_out() {
        let text = "# c\n\n=x\n1A=b\nA B=c\nnothing\nA=1\nA=2\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 2);
        assert_eq!(get(&parsed, "A").unwrap().value, "2");
        assert_eq!(get(&parsed, "A").unwrap().line, 8);
    }

    #[test]
    fn login_defs() {
        let parsed = parse_blank_separated("#X y\nENV_PATH\tPATH=/bin:/usr/bin\nEMPTY\n");
        assert_eq!(parsed.len(), 1);
        assert_eq!(
            get(&parsed, "ENV_PATH").unwrap().value,
            "PATH=/bin:/usr/bin"
        );
    }
}
