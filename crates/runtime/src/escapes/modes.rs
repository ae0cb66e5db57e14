//! What a machine has switched on in its user's terminal, and the sequences that switch it off again.

use std::collections::{BTreeMap, BTreeSet};

/// Modes that are on to begin with: wrapping, repetition, the cursor.
const ON: &[u16] = &[7, 8, 25];

/// Alternate screens.
const SCREENS: &[u16] = &[47, 1047, 1049];

/// What differs from a terminal as it was found.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Private modes, and whether each is on.
    private: BTreeMap<u16, bool>,
    /// Modes of ECMA-48 that are on.
    ansi: BTreeMap<u16, bool>,
    title: bool,
    /// What was used, and is undone as a whole.
    used: BTreeSet<Used>,
}

/// What is undone by one sequence, in the order of undoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    Margins,
    Colours,
    CharacterSets,
    Keypad,
    CursorShape,
    Tabs,
    ModifiedKeys,
    KittyKeys,
}

impl Used {
    fn undo(self) -> &'static [u8] {
        match self {
            // Setting the margins moves the cursor.
            Self::Margins => b"\x1b7\x1b[r\x1b8",
            Self::Colours => b"\x1b[m",
            Self::CharacterSets => b"\x1b(B\x0f",
            Self::Keypad => b"\x1b>",
            Self::CursorShape => b"\x1b[0 q",
            Self::Tabs => b"\x1b[?5W",
            Self::ModifiedKeys => b"\x1b[>4m",
            // More than any terminal stacks.
            Self::KittyKeys => b"\x1b[<64u",
        }
    }
}

impl Modes {
    /// Takes note of a control character that passes.
    pub(super) fn control(&mut self, byte: u8) {
        if byte == 0x0e {
            self.uses(Used::CharacterSets);
        }
    }

    /// What saves the title before it is first set.
    pub(super) fn save_title(&mut self) -> &'static [u8] {
        match std::mem::replace(&mut self.title, true) {
            true => b"",
            false => b"\x1b[22;0t",
        }
    }

    fn uses(&mut self, what: Used) {
        self.used.insert(what);
    }

    /// Takes note of a sequence that passes.
    pub(super) fn sequence(&mut self, sequence: &[u8]) {
        match sequence {
            // A full reset leaves nothing but the title.
            b"\x1bc" => {
                *self = Self {
                    title: self.title,
                    ..Self::default()
                };
            }
            [
                _,
                b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b'n' | b'o' | b'|' | b'}' | b'~',
                ..,
            ] => {
                self.uses(Used::CharacterSets);
            }
            b"\x1b=" => self.uses(Used::Keypad),
            b"\x1bH" => self.uses(Used::Tabs),
            [_, b'[', b'?', numbers @ .., last @ (b'h' | b'l' | b'r')] => {
                // What is restored may be either; nothing is lost by undoing it.
                let is_on = |number: u16| match last {
                    b'h' => true,
                    b'l' => false,
                    _ => !ON.contains(&number),
                };
                for number in parsed(numbers) {
                    self.private.insert(number, is_on(number));
                }
            }
            [_, b'[', numbers @ .., last @ (b'h' | b'l')] => {
                for number in parsed(numbers) {
                    self.ansi.insert(number, *last == b'h');
                }
            }
            [_, b'[', b'>', .., b'm'] => self.uses(Used::ModifiedKeys),
            [_, b'[', b'>' | b'=', .., b'u'] => self.uses(Used::KittyKeys),
            [_, b'[', .., b' ', b'q'] => self.uses(Used::CursorShape),
            b"\x1b[m" | b"\x1b[0m" => {
                self.used.remove(&Used::Colours);
            }
            [_, b'[', .., b'm'] => self.uses(Used::Colours),
            b"\x1b[r" => {
                self.used.remove(&Used::Margins);
            }
            [_, b'[', b'0'..=b'9' | b';', .., b'r' | b's'] => self.uses(Used::Margins),
            [_, b'[', .., b'g' | b'W'] => self.uses(Used::Tabs),
            _ => {}
        }
    }

    /// What switches everything off.
    pub(super) fn undo(self) -> Vec<u8> {
        let mut undo = Vec::new();
        let private = |number: u16, is_on: bool, undo: &mut Vec<u8>| {
            let last = if is_on { 'h' } else { 'l' };
            undo.extend(format!("\x1b[?{number}{last}").into_bytes());
        };
        // First the screen: the others are to hold for the one that stays.
        for number in SCREENS {
            if self.private.get(number) == Some(&true) {
                private(*number, false, &mut undo);
            }
        }
        for (number, is_on) in &self.private {
            let was_on = ON.contains(number);
            // 1048 saves the cursor and restores it: nothing to be undone.
            if *is_on != was_on && !SCREENS.contains(number) && *number != 1048 {
                private(*number, was_on, &mut undo);
            }
        }
        for (number, _) in self.ansi.iter().filter(|(_, is_on)| **is_on) {
            undo.extend(format!("\x1b[{number}l").into_bytes());
        }
        for used in &self.used {
            undo.extend_from_slice(used.undo());
        }
        if self.title {
            undo.extend_from_slice(b"\x1b[23;0t");
        }
        undo
    }
}

fn parsed(numbers: &[u8]) -> impl Iterator<Item = u16> {
    numbers
        .split(|byte| *byte == b';')
        .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
}
