//! Which sequences may reach the user's terminal. Each list says what its members do; what is not listed does not pass.
//!
//! Sources: ECMA-48; "XTerm Control Sequences" (ctlseqs); console_codes(4).

/// What happens to a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Drop,
    /// Parts of it may not pass.
    Instead(Vec<u8>),
}

/// What happens to an operating system command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Drop,
    /// It asks for a colour.
    Ask,
    /// It sets the title.
    Title,
}

fn pass_if(may: bool) -> Verdict {
    if may { Verdict::Pass } else { Verdict::Drop }
}

/// Bell, the movements, and the two character sets. Not ENQ, to which a terminal answers what it was set up with, nor what
/// begins a ZMODEM transfer.
pub(super) fn control(byte: u8) -> bool {
    matches!(byte, 0 | 0x07..=0x0f | 0x7f)
}

/// `rest` is what follows `ESC`.
pub(super) fn escape(rest: &[u8]) -> Verdict {
    pass_if(match rest {
        // Cursor saved and restored, index, next line, tab stop, reverse index, single shifts, keypad, full reset, locking shifts.
        [
            b'6'..=b'9'
            | b'D'
            | b'E'
            | b'H'
            | b'M'
            | b'N'
            | b'O'
            | b'='
            | b'>'
            | b'c'
            | b'n'
            | b'o'
            | b'|'
            | b'}'
            | b'~',
        ] => true,
        // Character sets; lines of double height and width, the screen full of E.
        [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/', .., last] => last.is_ascii_graphic(),
        [b'#', b'3'..=b'6' | b'8'] => true,
        // Left out: another encoding (`ESC %`), answers in eight bits (`ESC SP`), memory locks, who are you (`ESC Z`).
        _ => false,
    })
}

/// `rest` is what follows `ESC [`.
pub(super) fn control_sequence(rest: &[u8]) -> Verdict {
    let is_parameter = |byte: &u8| (0x30..=0x3f).contains(byte);
    let parameters = rest.iter().take_while(|byte| is_parameter(byte)).count();
    let (parameters, function) = rest.split_at(parameters);
    let (marks, numbers) = match parameters {
        [mark @ b'<'..=b'?', numbers @ ..] => (Some(*mark), numbers),
        numbers => (None, numbers),
    };
    if numbers.iter().any(|byte| matches!(byte, b'<'..=b'?')) {
        return Verdict::Drop;
    }
    let one = |wanted: &[&[u8]]| pass_if(wanted.contains(&numbers));
    match (marks, function) {
        // Cursor, erasing, inserting, deleting, scrolling, tabs, repetition, colours, margins.
        (
            None,
            [
                b'@'..=b'M'
                | b'P'
                | b'S'
                | b'X'
                | b'Z'
                | b'`'
                | b'a'
                | b'b'
                | b'd'
                | b'e'
                | b'f'
                | b'g'
                | b'm'
                | b'r'
                | b's'
                | b'u',
            ],
        ) => Verdict::Pass,
        // Scrolling down; with more numbers it starts the tracking of the mouse.
        (None, [b'T']) => pass_if(!numbers.contains(&b';')),
        // Where is the cursor, are you there; what are you. The answers hold numbers only.
        (None, [b'n']) => one(&[b"5", b"6"]),
        (Some(b'?'), [b'n']) => one(&[b"6"]),
        (None | Some(b'>'), [b'c']) => one(&[b"", b"0"]),
        (Some(b'?') | None, [b'$', b'p']) => Verdict::Pass,
        // Selective erasing, tab stops.
        (Some(b'?'), [b'J' | b'K' | b'W']) => Verdict::Pass,
        // Soft reset, the cursor's shape, protection, columns, scrolling sideways.
        (None, [b'!', b'p'] | [b' ', b'q' | b'@' | b'A'] | [b'"', b'q'] | [b'\'', b'}' | b'~']) => {
            Verdict::Pass
        }
        // Rectangles: attributes, copies, filling, erasing. Not `* y`, which tells of the screen's content.
        (None, [b'$', b'r' | b't' | b'v' | b'x' | b'z' | b'{'] | [b'*', b'x']) => Verdict::Pass,
        // Colours pushed and popped.
        (None, [b'#', b'{' | b'}' | b'p' | b'q']) => Verdict::Pass,
        // The keyboard's protocols of xterm and kitty: how keys are sent, not which.
        (Some(b'>'), [b'm' | b'n' | b'u']) | (Some(b'<' | b'=' | b'?'), [b'u']) => Verdict::Pass,
        // Modes.
        (None, [last @ (b'h' | b'l')]) => modes(None, numbers, *last, MODES),
        (Some(b'?'), [last @ (b'h' | b'l' | b's' | b'r')]) => {
            modes(Some(b'?'), numbers, *last, PRIVATE_MODES)
        }
        // Left out, among others: the window (`t`), the printer (`i`, `? i`), the lamps (`q`), reports of settings (`$ w`, `x`),
        // tests (`y`), locators (`' z`), Linux' settings of bell and blanking (`]`), kind and version of the terminal (`> q`).
        _ => Verdict::Drop,
    }
}

/// Inserting; a new line returns.
const MODES: &[&[u8]] = &[b"4", b"20"];

/// Cursor keys, smooth scrolling, reverse screen, origin, wrapping, repetition, the mouse by clicks, blinking, cursor,
/// wrapping backwards, alternate screens, keypad, margins, the mouse by xterm's ways, focus, meta keys, pasted text in
/// brackets, output at once, wide characters. Left out: another width of the window (3), printing, shapes (35), sixels (80),
/// the window raised or urgent (1042, 1043), reports of colours and sizes that nobody asked for (2031, 2048).
const PRIVATE_MODES: &[&[u8]] = &[
    b"1", b"4", b"5", b"6", b"7", b"8", b"9", b"12", b"25", b"45", b"47", b"66", b"69", b"1000",
    b"1001", b"1002", b"1003", b"1004", b"1005", b"1006", b"1007", b"1015", b"1016", b"1034",
    b"1036", b"1039", b"1047", b"1048", b"1049", b"2004", b"2026", b"2027",
];

fn modes(mark: Option<u8>, numbers: &[u8], last: u8, allowed: &[&[u8]]) -> Verdict {
    let kept: Vec<&[u8]> = numbers
        .split(|byte| *byte == b';')
        .filter(|number| allowed.contains(number))
        .collect();
    if kept.is_empty() {
        return Verdict::Drop;
    }
    let mut sequence = b"\x1b[".to_vec();
    sequence.extend(mark);
    sequence.extend(kept.join(&b';'));
    sequence.push(last);
    Verdict::Instead(sequence)
}

/// `content` is what follows `ESC ]`.
///
/// The title may be set, since reports of it do not pass. The colours of text, background and cursor may be asked for (vim
/// does, to choose its own), not set. Left out, among others: the clipboard (52), the directory for new windows (7),
/// messages (9, 777), the palette (4), fonts (50), files (1337); and links (8), whose text stays: a machine's paths mean
/// nothing on its user's computer, and where a link leads is not to be seen.
pub(super) fn command(content: &[u8]) -> Command {
    match content {
        [b'0' | b'1' | b'2', b';', title @ ..] => match std::str::from_utf8(title) {
            Ok(title) if !title.chars().any(char::is_control) => Command::Title,
            _ => Command::Drop,
        },
        b"10;?" | b"11;?" | b"12;?" => Command::Ask,
        _ => Command::Drop,
    }
}
