//! A text file as lines that keep their ends, for edits that touch nothing else: order, comments, CRLF and a missing last line
//! end stay as they are.

use std::fmt;

/// A text, line by line, each with the line end that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    lines: Vec<String>,
}

impl Lines {
    /// Splits a text. Printed again, it is the same to the byte.
    pub fn parse(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// A line without its end, by its number from 1.
    pub fn get(&self, number: u32) -> Option<&str> {
        self.lines.get(index(number)?).map(|line| body(line))
    }

    /// All lines with their numbers, without their ends.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        (1..).zip(self.lines.iter().map(|line| body(line)))
    }

    /// Gives a line another text and leaves its end alone.
    pub fn replace(&mut self, number: u32, text: &str) {
        if let Some(line) = index(number).and_then(|at| self.lines.get_mut(at)) {
            let end = line.get(body(line).len()..).unwrap_or_default().to_owned();
            *line = format!("{}{end}", single(text));
        }
    }

    /// Makes a comment of a line: a `#` before it, and everything in it stays.
    pub fn comment(&mut self, number: u32) {
        if let Some(text) = self.get(number).map(|line| format!("#{line}")) {
            self.replace(number, &text);
        }
    }

    /// Puts a line behind another (0: before the first), with the line end that its neighbour has.
    pub fn insert_after(&mut self, number: u32, text: &str) {
        let at = (number as usize).min(self.lines.len());
        let neighbour = at.checked_sub(1).and_then(|above| self.lines.get(above));
        // The end of the file counts only if there is none above: a missing last line end is no style.
        let end = match neighbour.or_else(|| self.lines.first()) {
            Some(line) if line.ends_with("\r\n") => "\r\n",
            Some(line) if line.ends_with('\n') => "\n",
            Some(_) if self.lines.iter().any(|line| line.ends_with("\r\n")) => "\r\n",
            Some(_) | None => "\n",
        };
        let text = single(text);
        let open_end = neighbour.is_some_and(|line| !line.ends_with('\n'));
        if open_end && let Some(line) = at.checked_sub(1).and_then(|at| self.lines.get_mut(at)) {
            line.push_str(end);
            self.lines.insert(at, text);
        } else {
            self.lines.insert(at, format!("{text}{end}"));
        }
    }

    /// Puts a line at the end.
    pub fn push(&mut self, text: &str) {
        self.insert_after(self.count(), text);
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(line))
    }
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

/// A line without its end.
fn body(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// What is put in is one line, whatever it came from.
fn single(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_stay_what_they_are() {
        let mut lines = Lines::parse("a\r\nb\r\nc");
        lines.comment(2);
        lines.insert_after(1, "x");
        lines.push("d\ne");
        assert_eq!(lines.to_string(), "a\r\nx\r\n#b\r\nc\r\nd e");
        let mut lines = Lines::parse("");
        lines.push("a");
        lines.insert_after(0, "b");
        assert_eq!(lines.to_string(), "b\na\n");
        lines.replace(9, "none");
        lines.replace(2, "c");
        assert_eq!(lines.get(2), Some("c"));
        assert_eq!(lines.get(0), None);
    }

    proptest! {
        #[test]
        fn printing_gives_back_what_was_parsed(text in "([ -~]{0,8}(\r?\n)?){0,12}", noise in ".{0,80}") {
            for text in [text, noise] {
                prop_assert_eq!(Lines::parse(&text).to_string(), text);
            }
        }

        #[test]
        fn edits_touch_nothing_else(text in "([a-z]{0,3}\r?\n){0,6}[a-z]{0,3}", at in 0u32..9) {
            let before = Lines::parse(&text);
            let mut after = before.clone();
            after.insert_after(at, "NEW");
            let kept: Vec<_> = after.iter().map(|(_, line)| line).filter(|line| *line != "NEW").collect();
            let old: Vec<_> = before.iter().map(|(_, line)| line).collect();
            prop_assert_eq!(kept, old);
            prop_assert_eq!(after.count(), before.count() + 1);
            let ends = |text: &str| text.is_empty() || text.ends_with('\n');
            prop_assert_eq!(ends(&after.to_string()), ends(&text));
            let mut commented = before.clone();
            commented.comment(at);
            prop_assert!(commented.to_string().replace('#', "") == text);
        }
    }
}
