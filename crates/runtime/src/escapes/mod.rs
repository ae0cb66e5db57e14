//! What a machine writes, made fit for its user's terminal: text and what draws on the screen pass, what acts elsewhere does
//! not. Pure: bytes in, bytes out, in pieces of any size.
//!
//! A terminal obeys whatever is written to it. It can be told to answer, as if the user had typed; to set the clipboard, to
//! print, to redefine keys, to move its window. So only sequences that are known to draw, or to ask for what full-screen
//! programs have to know, are passed on (`policy`); which ones those leave behind is remembered and undone at the end
//! (`modes`). The terminal is taken to be one for UTF-8, as they all are now.
//!
//! The states are those of a DEC terminal (Paul Williams, "A parser for DEC's ANSI-compatible video terminals").

mod modes;
mod policy;

use modes::Modes;
use policy::Verdict;

/// Longest sequence that may pass, and longest title.
const MAX_SEQUENCE: usize = 512;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// What may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// All that a program on the terminal needs.
    Live,
    /// Text and colours: what was written long ago is shown again.
    Replay,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// A character of several bytes, of which so many are missing.
    Character(usize),
    Escape,
    ControlSequence,
    Text(StringKind),
    /// Linux' `ESC ] P` takes seven digits and has no end (console_codes(4)); so many are missing.
    Palette(usize),
}

/// Strings, which end with `ESC \`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringKind {
    /// `ESC ]`, which may end with a bell as well.
    Command,
    /// Device control, application, privacy, start of string; and `ESC k`, the title in screen(1). None of them passes.
    Other,
}

/// The filter, with what it has not decided yet.
#[derive(Debug)]
pub struct Filter {
    purpose: Purpose,
    state: State,
    /// The sequence so far, from its escape on; or the first bytes of a character.
    pending: Vec<u8>,
    modes: Modes,
}

impl Default for Filter {
    fn default() -> Self {
        Self::new(Purpose::Live)
    }
}

/// Console output of the past, fit to be shown again: text, line breaks and colours. A terminal would answer queries in it,
/// and the answer would end up as keys at the login prompt.
pub fn replay(log: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(log.len());
    Filter::replaying().feed(log, &mut shown);
    shown
}

impl Filter {
    /// One that lets text and colours pass only.
    pub fn replaying() -> Self {
        Self::new(Purpose::Replay)
    }

    fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            state: State::Ground,
            pending: Vec::new(),
            modes: Modes::default(),
        }
    }

    /// Appends to `shown` what of `bytes` may reach the terminal. The beginning of a sequence is kept until its end is known.
    pub fn feed(&mut self, bytes: &[u8], shown: &mut Vec<u8>) {
        for byte in bytes {
            self.step(*byte, shown);
        }
    }

    /// What gives the terminal back as it was found.
    pub fn reset(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.modes).undo()
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Character(missing), 0x80..=0xbf) => {
                self.continue_character(missing, byte, shown)
            }
            // CAN and SUB end every sequence.
            (_, 0x18 | 0x1a) => self.ground(),
            (_, ESCAPE) => {
                // It ends a string: `ESC \` does nothing more, anything else begins another sequence.
                if self.state == State::Text(StringKind::Command) {
                    self.command(b"\x1b\\", shown);
                }
                self.begin();
            }
            (State::Text(kind), _) => self.string(kind, byte, shown),
            (State::Palette(missing), _) => match (missing, byte.is_ascii_hexdigit()) {
                (2.., true) => self.state = State::Palette(missing - 1),
                (_, true) => self.ground(),
                (_, false) => {
                    self.ground();
                    self.step(byte, shown);
                }
            },
            // A terminal obeys control characters in the middle of a sequence.
            (State::Escape | State::ControlSequence, 0..=0x1f | 0x7f) => self.control(byte, shown),
            (State::Escape, _) => self.escape(byte, shown),
            (State::ControlSequence, _) => self.control_sequence(byte, shown),
            (State::Ground | State::Character(_), _) => {
                self.ground();
                self.text(byte, shown);
            }
        }
    }

    fn ground(&mut self) {
        self.state = State::Ground;
        self.pending.clear();
    }

    fn begin(&mut self) {
        self.state = State::Escape;
        self.pending.clear();
        self.pending.push(ESCAPE);
    }

    fn text(&mut self, byte: u8, shown: &mut Vec<u8>) {
        let following = match byte {
            0..=0x1f | 0x7f => return self.control(byte, shown),
            b' '..=b'~' => return shown.push(byte),
            0xc2..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            // No beginning of a character; 0x80 to 0x9f are controls to a terminal that is not one for UTF-8.
            0x80..=0xc1 | 0xf5.. => return shown.push(b'?'),
        };
        self.state = State::Character(following);
        self.pending.push(byte);
    }

    fn continue_character(&mut self, missing: usize, byte: u8, shown: &mut Vec<u8>) {
        self.pending.push(byte);
        if missing > 1 {
            self.state = State::Character(missing - 1);
            return;
        }
        match std::str::from_utf8(&self.pending) {
            // U+0080 to U+009F: controls with the meaning of `ESC @` to `ESC _`.
            Ok(text) if !text.chars().any(char::is_control) => {
                shown.extend_from_slice(&self.pending);
            }
            Ok(_) => {}
            Err(_) => shown.push(b'?'),
        }
        self.ground();
    }

    fn control(&mut self, byte: u8, shown: &mut Vec<u8>) {
        if policy::control(byte) && (self.purpose == Purpose::Live || b"\t\n\r\x08".contains(&byte))
        {
            self.modes.control(byte);
            shown.push(byte);
        }
    }

    /// After `ESC`: intermediate bytes and a final one, or the beginning of something longer.
    fn escape(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match (self.pending.len(), byte) {
            (1, b'[') => {
                self.state = State::ControlSequence;
                self.pending.push(byte);
            }
            (1, b']') => {
                self.state = State::Text(StringKind::Command);
                self.pending.push(byte);
            }
            (1, b'P' | b'X' | b'^' | b'_' | b'k') => {
                self.state = State::Text(StringKind::Other);
                self.pending.clear();
            }
            (_, b' '..=b'/') if self.pending.len() < MAX_SEQUENCE => self.pending.push(byte),
            (_, 0x80..) => {
                self.ground();
                self.text(byte, shown);
            }
            _ => {
                self.pending.push(byte);
                let verdict = policy::escape(&self.pending[1..]);
                self.decide(verdict, shown);
            }
        }
    }

    fn control_sequence(&mut self, byte: u8, shown: &mut Vec<u8>) {
        if byte >= 0x80 {
            self.ground();
            return self.text(byte, shown);
        }
        // What is too long is read to its end, and does not pass.
        if self.pending.len() < MAX_SEQUENCE {
            self.pending.push(byte);
        }
        if (0x40..=0x7e).contains(&byte) {
            let verdict = if self.pending.len() < MAX_SEQUENCE {
                policy::control_sequence(&self.pending[2..])
            } else {
                Verdict::Drop
            };
            self.decide(verdict, shown);
        }
    }

    fn string(&mut self, kind: StringKind, byte: u8, shown: &mut Vec<u8>) {
        if kind == StringKind::Other {
            return;
        }
        match (self.pending.len(), byte) {
            (_, BELL) => {
                self.command(b"\x07", shown);
                self.ground();
            }
            // Linux' own, without an end: reset the palette, set a colour.
            (2, b'R') => self.ground(),
            (2, b'P') => self.state = State::Palette(7),
            (length, _) if length <= MAX_SEQUENCE => self.pending.push(byte),
            _ => {}
        }
    }

    /// An operating system command is complete.
    fn command(&mut self, end: &[u8], shown: &mut Vec<u8>) {
        if self.purpose == Purpose::Replay || self.pending.len() > MAX_SEQUENCE {
            return;
        }
        match policy::command(&self.pending[2..]) {
            policy::Command::Drop => {}
            policy::Command::Ask => {
                shown.extend_from_slice(&self.pending);
                shown.extend_from_slice(end);
            }
            policy::Command::Title => {
                shown.extend_from_slice(self.modes.save_title());
                shown.extend_from_slice(&self.pending);
                shown.extend_from_slice(end);
            }
        }
    }

    fn decide(&mut self, verdict: Verdict, shown: &mut Vec<u8>) {
        let colours = self.pending.starts_with(b"\x1b[") && self.pending.ends_with(b"m");
        if self.purpose == Purpose::Live || colours {
            match verdict {
                Verdict::Drop => {}
                Verdict::Pass => {
                    self.modes.sequence(&self.pending);
                    shown.extend_from_slice(&self.pending);
                }
                Verdict::Instead(sequence) => {
                    self.modes.sequence(&sequence);
                    shown.extend(sequence);
                }
            }
        }
        self.ground();
    }
}

#[cfg(test)]
mod tests;
