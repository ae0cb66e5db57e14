//! securetty(5): the terminals on which root may log in.

use super::numbered;

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

#[cfg(test)]
mod tests {
    #[test]
    fn names_only() {
        let parsed = super::parse("# local\nconsole\n\n tty1 # first\n/dev/ttyS0\n");
        assert_eq!(parsed, ["console", "tty1", "ttyS0"]);
    }
}
