//! Parsers of the files that an inspection reads: text or bytes in, plain data out, no I/O.
//!
//! They take what hostile hands may have written: none of them fails or panics, lines that make no sense are
//! left out, and nothing is larger than its input. Line numbers count from 1.
//!
//! The editors beside them take a text and give one back that differs in the lines that they are about; comments, order, line
//! ends and a missing last line end stay ([`lines::Lines`]).

pub mod assignments;
pub mod elf;
pub mod fstab;
pub mod hosts;
pub mod inittab;
pub mod interfaces;
pub mod limits;
pub mod lines;
pub mod pam;
pub mod passwd;
pub mod securetty;
pub mod shadow;
pub mod unit;

pub(crate) use lines::Lines;

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

    /// The lines in which two texts differ.
    fn changed(before: &str, after: &str) -> Vec<u32> {
        let (before, after) = (Lines::parse(before), Lines::parse(after));
        after
            .iter()
            .filter(|(number, text)| before.get(*number) != Some(*text))
            .map(|(number, _)| number)
            .collect()
    }

    proptest! {
        // An editor changes the line that it is about and adds at most one; twice is as good as once.
        #[test]
        fn editors_touch_one_line(text in "((root|[a-z@#+ -]{0,5})(:|\\t| |=){1,2}[a-zA-Z:=$\\\\.\\[\\] ]{0,12}(\r\n|\n)?){0,12}", number in 1..9u32) {
            let editors: [&dyn Fn(&str) -> String; 7] = [
                &|text| shadow::set_password(text, "root", "$6$a$b", 20_000),
                &|text| passwd::set_password(text, "root", "$6$a$b"),
                &|text| passwd::set_shell(text, "root", "/bin/sh"),
                &|text| assignments::set(text, "SELINUX", "disabled"),
                &|text| pam::set_control(text, number, "optional").unwrap_or_else(|| text.to_owned()),
                &|text| securetty::with(text, &["pts/0"]),
                &|text| limits::without(text, &[]),
            ];
            for (index, editor) in editors.iter().enumerate() {
                let once = editor(&text);
                prop_assert!(changed(&text, &once).len() <= 1, "{index}: {once:?}");
                prop_assert_eq!(editor(&once), once, "{}", index);
            }
        }

        // What the fuzz targets in /fuzz do for hours, in the milliseconds that a unit test may take.
        #[test]
        fn no_parser_panics(text in "([a-z@#\\[\\]:=/\\\\\"' \t-]{0,12}\n?){0,20}", noise in ".{0,200}") {
            for text in [text.as_str(), noise.as_str()] {
                assignments::parse(text);
                fstab::parse(text);
                interfaces::autos(text);
                hosts::has_name(text, "localhost");
                assignments::parse_blank_separated(text);
                limits::parse(text);
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
