//! Files of `/etc/pam.d` (pam.conf(5)): module lines and includes, with line continuation.
//!
//! One file in, its lines out; following the includes is the reader's business, since only that may do I/O.

use super::continued;

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
