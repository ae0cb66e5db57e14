//! What a terminal does besides showing: answer questions, and be read aloud.
//!
//! [`Answers`] replies to the few requests that real programs make of a terminal at start
//! (systemd since 257 asks for the cursor's place and the size and waits for the answer);
//! [`Plain`] is the output as text: no escape sequences, no carriage returns.

/// Collects the answers that the terminal owes its program.
#[derive(Debug, Default)]
pub struct Answers {
    pending: Vec<u8>,
}

impl Answers {
    /// What is to be written to the program now.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }
}

impl vt100::Callbacks for Answers {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _: Option<u8>,
        parameters: &[&[u16]],
        command: char,
    ) {
        let parameter = parameters
            .first()
            .and_then(|values| values.first())
            .copied()
            .unwrap_or(0);
        let answer = match (first, parameter, command) {
            // Device status: all is well.
            (None, 5, 'n') => "\x1b[0n".to_owned(),
            // Where is the cursor?
            (None, 6, 'n') => {
                let (row, column) = screen.cursor_position();
                format!("\x1b[{};{}R", row + 1, column + 1)
            }
            // What are you? A VT102.
            (None, 0, 'c') => "\x1b[?6c".to_owned(),
            // How large are you, in characters?
            (None, 18, 't') => {
                let (rows, columns) = screen.size();
                format!("\x1b[8;{rows};{columns}t")
            }
            _ => return,
        };
        self.pending.extend_from_slice(answer.as_bytes());
    }
}

/// The output as text, and how much of it has been matched.
#[derive(Default)]
pub struct Plain {
    parser: vte::Parser,
    sink: Sink,
}

#[derive(Default)]
struct Sink {
    text: String,
    consumed: usize,
}

impl Plain {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.advance(&mut self.sink, bytes);
    }

    pub fn all(&self) -> &str {
        &self.sink.text
    }

    pub fn unread(&self) -> &str {
        self.sink.text.get(self.sink.consumed..).unwrap_or_default()
    }

    /// `count` more bytes have been matched.
    pub fn consume(&mut self, count: usize) {
        self.sink.consumed = (self.sink.consumed + count).min(self.sink.text.len());
    }
}

impl vte::Perform for Sink {
    fn print(&mut self, character: char) {
        self.text.push(character);
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | b'\t' => self.text.push(char::from(byte)),
            // The echo of a corrected typing error is backspace, space, backspace.
            b'\x08' if self.text.len() > self.consumed => {
                self.text.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_escape_sequences() {
        let mut plain = Plain::default();
        plain.feed(b"[\x1b[0;32m  OK  \x1b[0m] Reached \x1b]8;;file://x\x1b\\target\x1b]8;;\x1b\\\r\nhost lo");
        plain.feed(b"gin: x\x08 \x08\xc3");
        plain.feed(b"\xa9");
        assert_eq!(plain.all(), "[  OK  ] Reached target\nhost login: é");
    }

    #[test]
    fn backspace_does_not_reach_into_what_was_matched() {
        let mut plain = Plain::default();
        plain.feed(b"abc");
        plain.consume(3);
        plain.feed(b"\x08d");
        assert_eq!(plain.unread(), "d");
    }
}
