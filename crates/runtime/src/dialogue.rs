//! A program's talk with a machine's console: waits for texts and types answers, as a person at the terminal would.

use crate::dirs::Dirs;
use crate::error::Result;
use crate::protocol::{self, Event, Request};
use crate::start::{Connection, readable};
use repot_model::MachineName;
use std::time::{Duration, Instant};

/// More than this is not kept of what a console says: what is waited for comes at the end.
const KEPT: usize = 64 * 1024;

/// A console that is read and typed on by a program.
#[derive(Debug)]
pub struct Dialogue {
    connection: Connection,
    heard: String,
}

/// What became of waiting for a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The text of that number in the list was said; what came before it, and the text.
    Text {
        /// Its number.
        number: usize,
        /// Everything up to its end.
        said: String,
    },
    /// None of them in time.
    Nothing,
    /// The machine has ended or restarts.
    Gone,
}

impl Dialogue {
    /// Takes part in the console of a machine that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn open(dirs: &Dirs, name: &MachineName) -> Result<Self> {
        let connection = Connection::open(dirs, name)?;
        connection.send(&Request::Attach)?;
        Ok(Self {
            connection,
            heard: String::new(),
        })
    }

    /// Types.
    ///
    /// # Errors
    /// The supervisor has gone.
    pub fn type_keys(&self, keys: &str) -> Result<()> {
        self.connection
            .send(&Request::Input(keys.as_bytes().to_vec()))
    }

    /// Waits until one of the texts has been said since the last one that was waited for; letters count without their case.
    /// Escape sequences are left out before.
    ///
    /// # Errors
    /// The supervisor has gone, or speaks another language.
    pub fn hear(&mut self, texts: &[&str], timeout: Duration) -> Result<Heard> {
        let deadline = Instant::now() + timeout;
        loop {
            let plain = plain(&self.heard);
            let lower = plain.to_ascii_lowercase();
            let first = texts
                .iter()
                .enumerate()
                .filter_map(|(number, text)| {
                    let at = lower.find(&text.to_ascii_lowercase())?;
                    Some((at + text.len(), number))
                })
                .min();
            if let Some((end, number)) = first {
                self.heard = plain[end..].to_owned();
                let said = plain[..end].to_owned();
                return Ok(Heard::Text { number, said });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !readable(self.connection.socket(), Some(left))? {
                return Ok(Heard::Nothing);
            }
            match protocol::next_event(self.connection.socket())? {
                Some(Event::Output(bytes)) => {
                    self.heard.push_str(&String::from_utf8_lossy(&bytes));
                    let mut cut = self.heard.len().saturating_sub(KEPT);
                    while !self.heard.is_char_boundary(cut) {
                        cut += 1;
                    }
                    self.heard.drain(..cut);
                }
                None | Some(Event::Ended(_) | Event::Rebooting | Event::Failed(_)) => {
                    return Ok(Heard::Gone);
                }
                Some(Event::Started | Event::Ready(_)) => {}
            }
        }
    }

    /// What has been said and not been waited for.
    pub fn rest(&self) -> String {
        plain(&self.heard)
    }
}

/// A text without control sequences (ECMA-48: `ESC [ ... letter`), other escapes and control characters but line ends.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\u{1b}' => {
                chars.next();
            }
            '\n' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_left_out() {
        assert_eq!(plain("\u{1b}[1;32mroot\u{1b}[0m@x:\r\n# "), "root@x:\n# ");
        assert_eq!(plain("\u{1b}(Ba\u{7}b"), "Bab");
    }
}
