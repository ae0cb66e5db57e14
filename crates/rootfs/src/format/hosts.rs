//! hosts(5): whether a name is there, and a line put before the others.

use super::lines::Lines;
use super::numbered;

/// Whether some line gives an address to a name.
pub fn has_name(text: &str, name: &str) -> bool {
    numbered(text).any(|(_, line)| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_ascii_whitespace()
            .skip(1)
            .any(|word| word == name)
    })
}

/// The text with a line before the first that is no comment, so that it wins (hosts(5), `multi off`).
pub fn add(text: &str, address: &str, name: &str) -> String {
    let mut edited = Lines::parse(text);
    let comments = edited
        .iter()
        .take_while(|(_, line)| line.trim_start().starts_with('#'))
        .count();
    let after = u32::try_from(comments).unwrap_or(0);
    edited.insert_after(after, &format!("{address}\t{name}"));
    edited.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn localhost() {
        assert!(has_name(
            "127.0.0.1 localhost.localdomain localhost\n",
            "localhost"
        ));
        assert!(!has_name(
            "127.0.0.1 box # localhost\nlocalhost\n",
            "localhost"
        ));
        assert_eq!(
            add("# mine\r\n10.0.0.1 box\r\n", "127.0.0.1", "localhost"),
            "# mine\r\n127.0.0.1\tlocalhost\r\n10.0.0.1 box\r\n"
        );
        assert_eq!(add("", "::1", "localhost"), "::1\tlocalhost\n");
    }

    proptest! {
        #[test]
        fn what_is_added_is_there(text in "(#?[0-9.]{0,9}( [a-z]{1,4}){0,2}\r?\n){0,6}([0-9] x)?") {
            let edited = add(&text, "127.0.0.1", "localhost");
            prop_assert!(has_name(&edited, "localhost"));
            let kept: Vec<&str> = edited.lines().filter(|line| !line.ends_with("localhost")).collect();
            prop_assert_eq!(kept, text.lines().collect::<Vec<_>>());
        }
    }
}
