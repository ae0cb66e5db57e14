//! securetty(5): the terminals on which root may log in.

use super::{Lines, numbered};

/// The names of terminals, without `/dev/` as login and pam_securetty compare them. Comments are left out.
///
/// # Source
/// pam_securetty(8); busybox `libbb/securetty.c`; shadow `libmisc/isexpired`'s neighbour `console.c`.
pub fn parse(text: &str) -> Vec<String> {
    numbered(text)
        .filter_map(|(_, line)| {
            let name = line.split('#').next().unwrap_or_default().trim();
            (!name.is_empty()).then(|| name.strip_prefix("/dev/").unwrap_or(name).to_owned())
        })
        .collect()
}

/// The text with those of `names` added at its end that are not listed yet.
pub fn with(text: &str, names: &[&str]) -> String {
    let mut lines = Lines::parse(text);
    let mut listed = parse(text);
    for name in names {
        if !listed.iter().any(|known| known == name) {
            lines.push(name);
            listed.push((*name).to_owned());
        }
    }
    lines.to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_added_once() {
        let text = "# local\r\nconsole\r\n#pts/0";
        let more = super::with(text, &["console", "pts/0", "pts/0"]);
        assert_eq!(more, "# local\r\nconsole\r\n#pts/0\r\npts/0");
        assert_eq!(super::with(&more, &["pts/0"]), more);
    }

    #[test]
    fn names_only() {
        let parsed = super::parse("# local\nconsole\n\n tty1 # first\n/dev/ttyS0\n");
        assert_eq!(parsed, ["console", "tty1", "ttyS0"]);
    }
}
