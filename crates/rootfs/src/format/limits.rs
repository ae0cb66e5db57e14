//! limits.conf(5) of pam_limits: `DOMAIN TYPE ITEM VALUE`.

use super::{Lines, numbered};

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Whom it is for: a name, `@group`, `%group`, `*`, `UID:UID`.
    pub domain: String,
    /// `hard`, `soft` or `-` for both.
    pub kind: String,
    /// `nofile`, `nproc`, `core`, ...
    pub item: String,
    /// A number, `unlimited`, `infinity` or `-1`.
    pub value: String,
    /// Line number from 1.
    pub line: u32,
}

/// Parses limits.conf. Lines of other than four words are left out (a domain with `-` alone takes a user out).
///
/// # Source
/// pam_limits.c, `parse_config_file`: everything from a `#` on is a comment.
pub fn parse(text: &str) -> Vec<Limit> {
    numbered(text)
        .filter_map(|(line, content)| {
            let content = content.split('#').next().unwrap_or_default();
            let words: Vec<&str> = content.split_ascii_whitespace().collect();
            let &[domain, kind, item, value] = words.as_slice() else {
                return None;
            };
            let kind = kind.to_ascii_lowercase();
            matches!(kind.as_str(), "hard" | "soft" | "-").then(|| Limit {
                domain: domain.to_owned(),
                kind,
                item: item.to_ascii_lowercase(),
                value: value.to_ascii_lowercase(),
                line,
            })
        })
        .collect()
}

/// The text with these lines made comments.
pub fn without(text: &str, lines: &[u32]) -> String {
    let mut edited = Lines::parse(text);
    lines.iter().for_each(|line| edited.comment(*line));
    edited.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_comments() {
        let text = "# x\nroot - nproc unlimited # why\n@a HARD NoFile 1024\n* soft core\nx - -\n";
        let limits = parse(text);
        assert_eq!(limits.len(), 2);
        assert_eq!(
            (
                limits[0].domain.as_str(),
                limits[0].line,
                limits[0].value.as_str()
            ),
            ("root", 2, "unlimited")
        );
        assert_eq!(
            (limits[1].kind.as_str(), limits[1].item.as_str()),
            ("hard", "nofile")
        );
        let edited = without(text, &[2]);
        assert!(edited.contains("\n#root - nproc unlimited # why\n"));
        assert_eq!(parse(&edited).len(), 1);
    }
}
