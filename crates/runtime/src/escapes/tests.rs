use super::*;

fn shown(text: &[u8]) -> Vec<u8> {
    let mut filter = Filter::default();
    let mut shown = Vec::new();
    filter.feed(text, &mut shown);
    shown
}

#[track_caller]
fn passes(text: &[u8]) {
    let shown = shown(text);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(lossy(&shown), lossy(text));
}

#[track_caller]
fn drops(text: &[u8]) {
    let got = shown(&[b"<", text, b">"].concat());
    let lossy = String::from_utf8_lossy(&got).into_owned();
    assert_eq!(
        lossy,
        "<>",
        "{}",
        String::from_utf8_lossy(text).escape_debug()
    );
}

#[test]
fn text_passes() {
    passes("grüß €uch 日本 𝄞\r\n\tx\x08\x07".as_bytes());
    assert_eq!(shown(b"a\x80\x9b6n\xff\xc0z\xe2\x82A"), b"a??6n??zA");
    // U+009B is a control sequence introducer.
    drops("\u{9b}\u{85}\u{90}".as_bytes());
    drops(b"\x05\x18\x1a\x11\x13\x10");
}

#[test]
fn what_full_screen_programs_send_passes() {
    // vim 9 on xterm: start, scrolling, cursor shapes, leaving.
    passes(b"\x1b[?1049h\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?12h\x1b[?12l\x1b[27m\x1b[m\x1b[H\x1b[2J\x1b[?25l");
    passes(b"\x1b[>c\x1b]10;?\x07\x1b]11;?\x1b\\\x1b[6n\x1b[?1006;1000h\x1b[>4;2m\x1b[2 q\x1b[?25h\x1b[24;63H\x1b[38;2;1;2;3m");
    passes(b"\x1b[>4;m\x1b[23;1H\x1b[K\x1b[?1l\x1b>\x1b[?2004l\x1b[?1049l");
    // less, htop, dialog: index, insertion, deletion, character sets, keypad, colours by sub-parameters.
    passes(b"\x1b[?1049h\x1b7\x1bM\x1b8\x1b[L\x1b[3M\x1b[4P\x1b[5@\x1b[6X\x1b(0lqk\x1b(B\x1b)0\x0eq\x0f\x1b[4:3m\x1b[90;48:5:17m\x1b[3g\x1bH");
    passes(
        b"\x1b[!p\x1b[?3;4l\x1b[4l\x1b>"
            .strip_prefix(b"\x1b[!p\x1b[?3;4l")
            .unwrap(),
    );
    passes(b"\x1b[5n\x1b[c\x1b[0c\x1b[?2026$p\x1b[1;2;3;4$r\x1b[>1u\x1b[<u\x1b[?u\x1b#8\x1bc");
}

#[test]
fn what_drives_the_terminal_does_not() {
    for text in [
        // Answers with content: settings, termcap, title, answerback, checksum of the screen, identity.
        b"\x1bP$qm\x1b\\".as_slice(),
        b"\x1bP+q544e\x1b\\",
        b"\x1b[21t\x1b[20t",
        b"\x1b[1;1;1;1;1;1*y",
        b"\x1b[>q\x1b[=c\x1bZ\x1b[x\x1b[1x\x1b[?26n\x1b[1$w",
        // Clipboard, palette, fonts, files, directory, messages, links, hooks.
        b"\x1b]52;c;Y3VybCBldmlsfHNo\x07",
        b"\x1b]4;1;?\x1b\\\x1b]4;1;red\x07\x1b]10;red\x07\x1b]104\x07",
        b"\x1b]50;?\x07\x1b]1337;File=inline=1:QUJD\x07",
        b"\x1b]7;file://host/etc\x1b\\\x1b]9;hello\x07\x1b]777;notify;a;b\x07",
        b"\x1b]3008;start=1\x1b\\\x1b]133;A\x07",
        // Windows, printers, lamps, width, keyboard lock, user-defined keys, passthrough, sixels.
        b"\x1b[3;0;0t\x1b[8;1;1t\x1b[2t\x1b[22;2t\x1b[5i\x1b[?5i\x1b[4i\x1b[2q",
        b"\x1b[?3h\x1b[2h\x1b[12h\x1b[?1043h\x1b[?40h\x1b[?2048h",
        b"\x1bP0;1|17/6c73\x1b\\\x1bPtmux;\x1b\x1b]52;c;QQ==\x07\x1b\\\x1bP0q~~\x1b\\",
        b"\x1bX\x1b\\\x1b^x\x1b\\\x1b_Gf=100;AAAA\x1b\\\x1bktitle\x1b\\",
        // Encodings, locators, highlighting of the mouse, Linux' own.
        b"\x1b%@\x1b%G\x1b G\x1b[1;2'z\x1b[1'|\x1b[1;1;1;1;1T",
        b"\x1b[9;1]\x1b]R\x1b]P1ff00ff",
        // A sequence that is too long.
        &[b"\x1b[".as_slice(), &[b'1'; 600], b"m"].concat(),
        &[b"\x1b]0;".as_slice(), &[b'1'; 600], b"\x07"].concat(),
        // A title with a control character in it.
        b"\x1b]0;a\xc2\x9bb\x07",
    ] {
        drops(text);
    }
}

#[test]
fn sequences_in_disguise() {
    // Control characters in a sequence are obeyed first, and a sequence is ended by the next.
    assert_eq!(shown(b"\x1b[\n2\r1t!"), b"\n\r!");
    assert_eq!(shown(b"\x1b[2\n1m"), b"\n\x1b[21m");
    assert_eq!(shown(b"\x1b[\x1b[1m"), b"\x1b[1m");
    assert_eq!(shown(b"\x1b]52;c;eA==\x1b[1mx"), b"\x1b[1mx");
    assert_eq!(shown(b"\x1b]52;c;\x18ok"), b"ok");
    // Parts of a sequence that may not pass are cut out.
    assert_eq!(shown(b"\x1b[?1;3;1049h"), b"\x1b[?1;1049h");
    // In pieces.
    let mut filter = Filter::default();
    let mut pieces = Vec::new();
    for byte in b"\x1b[1m\xc3\xa4\x1b]0;t\x07\x1b]52;c;?\x07z" {
        filter.feed(&[*byte], &mut pieces);
    }
    assert_eq!(pieces, b"\x1b[1m\xc3\xa4\x1b[22;0t\x1b]0;t\x07z");
}

#[test]
fn what_was_switched_on_is_switched_off() {
    let undone = |text: &[u8]| {
        let mut filter = Filter::default();
        filter.feed(text, &mut Vec::new());
        let undo = filter.reset();
        assert_eq!(filter.reset(), b"", "once");
        String::from_utf8(undo).unwrap()
    };
    assert_eq!(undone(b"text\x1b[1mbold\x1b[0m\x1b[2J"), "");
    assert_eq!(
        undone(b"\x1b[?1049;1006;1000h\x1b[?25l\x1b[?2004h\x1b[31m\x1b[2;5r\x1b=\x1b(0\x1b[4h"),
        "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[4l\x1b7\x1b[r\x1b8\x1b[m\x1b(B\x0f\x1b>"
    );
    assert_eq!(undone(b"\x1b[?7l\x1b[?7h\x1b[?1h\x1b[?1l"), "");
    assert_eq!(undone(b"\x1b[?1h\x1b[5m\x1bc"), "");
    assert_eq!(
        undone(b"\x1b]2;a\x07\x1b]2;b\x07\x1b[4 q\x1b[>1u\x1b[>4;1m\x1bH"),
        "\x1b[0 q\x1b[?5W\x1b[>4m\x1b[<64u\x1b[23;0t"
    );
}

#[test]
fn replays_ask_nothing() {
    let log = b"\x1b[1;32mok\x1b[0m \x1b[6n\x1b]0;title\x07\x1b]3008;x\x1b\\\x1b[!p\x1bP$q\x1b\\\x1b(Bvm login: \x1b[";
    assert_eq!(replay(log), b"\x1b[1;32mok\x1b[0m vm login: ");
    assert_eq!(replay("grüß\n".as_bytes()), "grüß\n".as_bytes());
}
