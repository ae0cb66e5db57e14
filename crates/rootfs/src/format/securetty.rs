//! securetty(5): the terminals on which root may log in.

/// The names of terminals, without `/dev/` as login and pam_securetty compare them. Comments are left out.
///
/// # Source
/// pam_securetty(8); busybox `libbb/securetty.c`; shadow `libmisc/isexpired`'s neighbour `console.c`.
pub fn parse(text: &str) -> Vec<String> {
    // A carriage return is part of the name for all of them, and no terminal is called so.
    text.split('\n')
        .filter_map(|line| {
            let name = line.split('#').next().unwrap_or_default();
            let name = name.trim_matches([' ', '\t']);
            (!name.trim().is_empty()).then(|| name.strip_prefix("/dev/").unwrap_or(name).to_owned())
        })
        .collect()
}

/// The text with those of `names` added at its end that are not listed yet. Added lines end in a plain newline whatever the others
/// do: with a carriage return no program would find them.
pub fn with(text: &str, names: &[&str]) -> String {
    let mut longer = text.to_owned();
    let mut listed = parse(text);
    for name in names {
        if !listed.iter().any(|known| known == name) {
            if !longer.is_empty() && !longer.ends_with('\n') {
                longer.push('\n');
            }
            longer.push_str(name);
            longer.push('\n');
            listed.push((*name).to_owned());
        }
    }
    longer
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_added_once() {
        let text = "# local\r\nconsole\r\n#pts/0";
        let more = super::with(text, &["console", "pts/0", "pts/0"]);
        assert_eq!(more, "# local\r\nconsole\r\n#pts/0\nconsole\npts/0\n");
        assert_eq!(super::with(&more, &["pts/0", "console"]), more);
    }

    #[test]
    fn names_only() {
        let parsed = super::parse("# local\nconsole\n\n tty1 # first\n/dev/ttyS0\n");
        assert_eq!(parsed, ["console", "tty1", "ttyS0"]);
    }
}
