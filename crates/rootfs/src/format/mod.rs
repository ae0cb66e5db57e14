//! Parsers of the files that an inspection reads: text or bytes in, plain data out, no I/O.
//!
//! They take what hostile hands may have written: none of them fails or panics, lines that make no sense are
//! left out, and nothing is larger than its input. Line numbers count from 1.

pub mod assignments;
pub mod elf;
pub mod inittab;
pub mod lines;
pub mod pam;
pub mod passwd;
pub mod securetty;
pub mod shadow;
pub mod unit;

/// Lines with their numbers, from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..=u32::MAX).zip(text.lines())
}

/// Lines with those joined that end in a backslash, as pam.conf(5) and systemd.syntax(7) do it: the backslash
/// and the line end become one blank. The number is that of the first line. With `skip_comments`, comment lines
/// within a continued line are dropped (systemd.syntax(7)).
pub(crate) fn continued(text: &str, is_comment: fn(&str) -> bool) -> Vec<(u32, String)> {
    let mut joined = Vec::new();
    let mut open: Option<(u32, String)> = None;
    for (number, line) in numbered(text) {
        if is_comment(line) {
            continue;
        }
        let (start, mut content) = open.take().unwrap_or((number, String::new()));
        match line.strip_suffix('\\') {
            Some(head) => {
                content.push_str(head);
                content.push(' ');
                open = Some((start, content));
            }
            None => {
                content.push_str(line);
                joined.push((start, content));
            }
        }
    }
    joined.extend(open);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // What the fuzz targets in /fuzz do for hours, in the milliseconds that a unit test may take.
        #[test]
        fn no_parser_panics(text in "([a-z@#\\[\\]:=/\\\\\"' \t-]{0,12}\n?){0,20}", noise in ".{0,200}") {
            for text in [text.as_str(), noise.as_str()] {
                assignments::parse(text);
                assignments::parse_blank_separated(text);
                inittab::parse(text).iter().for_each(|entry| drop(entry.words()));
                pam::parse(text);
                passwd::parse_users(text);
                passwd::parse_groups(text);
                securetty::parse(text);
                for entry in shadow::parse(text) {
                    let _ = (entry.hash.kind(), entry.is_expired(20_000));
                }
                unit::parse(text);
            }
        }

        #[test]
        fn no_elf_file_panics(mut head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let magic = b"\x7fELF\x02\x01";
            let length = magic.len().min(head.len());
            head[..length].copy_from_slice(&magic[..length]);
            if let Ok(header) = elf::Header::parse(&head) {
                let table = head.get(64..).unwrap_or_default();
                let _ = header.interpreter(table);
            }
        }
    }
}
