//! Files of `/etc/pam.d` (pam.conf(5)): module lines and includes, with line continuation.
//!
//! One file in, its lines out; following the includes is the reader's business, since only that may do I/O.

use super::{Lines, continued};

/// One line in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the line says.
    pub what: What,
    /// Line number from 1, of the first line if it is continued.
    pub line: u32,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `@include FILE`: all lines of another file (Debian's Linux-PAM).
    IncludeAll {
        /// Name of the file, relative to the directory of this one.
        file: String,
    },
    /// `TYPE include FILE` and `TYPE substack FILE`: the lines of one type of another file.
    Include {
        /// `auth`, `account`, `password`, `session`.
        kind: String,
        /// Name of the file, relative to the directory of this one.
        file: String,
    },
    /// A module.
    Module {
        /// `auth`, `account`, `password`, `session`.
        kind: String,
        /// Whether a missing module is passed over in silence (leading `-`).
        optional: bool,
        /// `required`, `requisite`, `sufficient`, `optional` or `[value=action ...]`.
        control: String,
        /// The module, such as `pam_unix.so`, and its arguments.
        module: Vec<String>,
    },
}

/// Parses a file of `/etc/pam.d`.
pub fn parse(text: &str) -> Vec<Line> {
    continued(text, |line| line.trim_start().starts_with('#'))
        .into_iter()
        .filter_map(|(line, content)| {
            let content = content.split('#').next().unwrap_or_default().trim();
            Some(Line {
                what: parse_line(content)?,
                line,
            })
        })
        .collect()
}

/// The text with another control value in the line that begins at `number`. `None`: there is no module on that line, or it is
/// continued before the end of its control value.
pub fn set_control(text: &str, number: u32, control: &str) -> Option<String> {
    let mut lines = Lines::parse(text);
    let content = lines.get(number)?.to_owned();
    let start = content.find(|c: char| !c.is_whitespace())?;
    let after_kind = start + content.get(start..)?.find(char::is_whitespace)?;
    let at = after_kind
        + content
            .get(after_kind..)?
            .find(|c: char| !c.is_whitespace())?;
    let rest = content.get(at..)?;
    let end = match rest.starts_with('[') {
        true => rest.find(']')? + 1,
        false => rest.find(char::is_whitespace)?,
    };
    let old = rest.get(..end)?;
    let is_module = parse(text).into_iter().any(|line| {
        line.line == number && matches!(&line.what, What::Module { control, .. } if control == old)
    });
    if !is_module {
        return None;
    }
    lines.replace(
        number,
        &format!("{}{control}{}", content.get(..at)?, rest.get(end..)?),
    );
    Some(lines.to_string())
}

/// The text with the line that begins at `number` made a comment, with those that continue it. No line moves.
pub fn comment_out(text: &str, number: u32) -> String {
    let mut lines = Lines::parse(text);
    let mut at = number;
    while let Some(line) = lines.get(at) {
        // Comments within a continued line are skipped by the reader, and stay.
        let is_comment = line.trim_start().starts_with('#');
        if is_comment && at == number {
            break;
        }
        let goes_on = is_comment || line.ends_with('\\');
        if !is_comment {
            // Not every reader agrees on whether a comment goes on behind a backslash.
            let text = format!("#{}", line.trim_end_matches('\\'));
            lines.replace(at, &text);
        }
        if !goes_on {
            break;
        }
        at += 1;
    }
    lines.to_string()
}

fn parse_line(content: &str) -> Option<What> {
    let (kind, rest) = word(content)?;
    if kind.eq_ignore_ascii_case("@include") {
        return Some(What::IncludeAll {
            file: word(rest)?.0.to_owned(),
        });
    }
    let optional = kind.starts_with('-');
    let kind = kind.trim_start_matches('-').to_ascii_lowercase();
    if !matches!(kind.as_str(), "auth" | "account" | "password" | "session") {
        return None;
    }
    let (control, rest) = if rest.starts_with('[') {
        let end = rest.find(']')?;
        let (control, rest) = rest.split_at(end + 1);
        (control, rest.trim_start())
    } else {
        word(rest)?
    };
    if matches!(control, "include" | "substack") {
        return Some(What::Include {
            kind,
            file: word(rest)?.0.to_owned(),
        });
    }
    let module: Vec<String> = rest.split_ascii_whitespace().map(str::to_owned).collect();
    (!module.is_empty()).then(|| What::Module {
        kind,
        optional,
        control: control.to_owned(),
        module,
    })
}

/// The first word, and the rest without the blanks between.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty()).then(|| (word, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_replaced_in_place() {
        let text = "auth\trequired   pam_a.so x\r\n-session [success=ok default=bad]\tpam_b.so\n@include y\nsession \\\n required pam_c.so";
        assert_eq!(
            set_control(text, 1, "optional").unwrap(),
            text.replacen("required", "optional", 1)
        );
        assert_eq!(
            set_control(text, 2, "optional").unwrap(),
            text.replace("[success=ok default=bad]", "optional")
        );
        for number in [0, 3, 4, 5, 9] {
            assert_eq!(set_control(text, number, "optional"), None, "{number}");
        }
    }

    #[test]
    fn whole_lines_become_comments() {
        let text = "auth required pam_a.so\nsession \\\n# why\n required pam_c.so\naccount required pam_d.so\n";
        let edited = comment_out(text, 2);
        assert_eq!(
            edited,
            "auth required pam_a.so\n#session \n# why\n# required pam_c.so\naccount required pam_d.so\n"
        );
        assert_eq!(parse(&edited).len(), 2);
        assert_eq!(comment_out(text, 9), text);
        assert_eq!(comment_out(&edited, 2), edited);
    }

    #[test]
    fn lines_of_all_kinds() {
        let text = "#%PAM-1.0\n\
            auth       optional   pam_faildelay.so  delay=3000000\n\
            auth [success=ok new_authtok_reqd=ok ignore=ignore user_unknown=bad default=die] pam_securetty.so noconsole\n\
            @include common-auth\n\
            -session optional \\\n  pam_systemd.so # comment\n\
            account include system-auth\n\
            session substack   postlogin\n\
            nonsense here\n\
            auth required\n\
            auth [open\n";
        let lines = parse(text);
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[1].what,
            What::Module {
                kind: "auth".into(),
                optional: false,
                control:
                    "[success=ok new_authtok_reqd=ok ignore=ignore user_unknown=bad default=die]"
                        .into(),
                module: vec!["pam_securetty.so".into(), "noconsole".into()],
            }
        );
        assert_eq!(lines[1].line, 3);
        assert_eq!(
            lines[2].what,
            What::IncludeAll {
                file: "common-auth".into()
            }
        );
        assert_eq!(
            lines[3].what,
            What::Module {
                kind: "session".into(),
                optional: true,
                control: "optional".into(),
                module: vec!["pam_systemd.so".into()],
            }
        );
        assert_eq!(lines[3].line, 5);
        assert_eq!(
            lines[5].what,
            What::Include {
                kind: "session".into(),
                file: "postlogin".into()
            }
        );
    }
}
