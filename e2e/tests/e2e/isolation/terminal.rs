//! What a machine writes must not drive its user's terminal, and full-screen programs must not notice.

use anyhow::{Result, ensure};
use repot_e2e::console::Console;

use super::{booted, small};
use crate::sandbox::{LONG, SHORT, Sandbox};

/// As printf(1) takes them. The clipboard, the title reported as keys, settings and termcap entries echoed, the answerback
/// message, the printer, a user-defined key, a control sequence in eight bits, a file.
const HOSTILE: &str = r"\033]52;c;ZXZpbA==\007\033[21t\033P$qm\033\\\033P+q544e\033\\\005\033[5i\033P0;1|17/6c73\033\\\302\2335n\033]1337;File=:eA==\007";
const HOSTILE_BYTES: &[&[u8]] = &[
    b"\x1b]52",
    b"\x1b[21t",
    b"\x1bP",
    b"\x05",
    b"\x1b[5i",
    b"\xc2\x9b",
    b"\x1b]1337",
];

/// The screen of an editor: alternate screen, mouse, pasted text in brackets, margins, colours, where is the cursor.
const EDITOR: &str =
    r"\033[?1049h\033[?1006;1000h\033[?2004h\033[1;20r\033[2J\033[H\033[7mtitle\033[0m\033[6n";
const EDITOR_BYTES: &[u8] =
    b"\x1b[?1049h\x1b[?1006;1000h\x1b[?2004h\x1b[1;20r\x1b[2J\x1b[H\x1b[7mtitle\x1b[0m\x1b[6n";
const EDITOR_UNDONE: &[&[u8]] = &[
    b"\x1b[?1049l",
    b"\x1b[?1000l",
    b"\x1b[?1006l",
    b"\x1b[?2004l",
    b"\x1b[r",
];

fn has(console: &Console, wanted: &[u8]) -> bool {
    console
        .raw()
        .windows(wanted.len())
        .any(|window| window == wanted)
}

fn none_of_it(console: &Console) -> Result<()> {
    for wanted in HOSTILE_BYTES {
        ensure!(
            !has(console, wanted),
            "the terminal got {}",
            wanted.escape_ascii()
        );
    }
    Ok(())
}

#[test]
fn a_session_cannot_drive_the_terminal() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let script = format!("printf 'bef''ore{HOSTILE}aft''er'");
    let run = ["run", &tree, "sh", "-c", &script];
    let mut console = sandbox.console(&run)?;
    console.expect("before", LONG)?;
    console.expect("after", SHORT)?;
    console.wait_exit(SHORT)?;
    none_of_it(&console)?;
    // The same without the filter: the check can fail.
    let mut command = sandbox.command(&run)?;
    command.env("REPOT_TERMINAL", "raw");
    let mut console = Console::spawn(&command)?;
    console.expect("after", LONG)?;
    console.wait_exit(SHORT)?;
    ensure!(HOSTILE_BYTES.iter().all(|wanted| has(&console, wanted)));
    sandbox.finish()
}

#[test]
fn the_console_cannot_drive_the_terminal() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let mut attached = sandbox.console(&["attach", &name])?;
    let mut log = sandbox.console(&["logs", "-f", &name])?;
    attached.expect("login:", LONG)?;
    log.expect("login:", LONG)?;
    let script = format!("printf 'bef''ore{HOSTILE}aft''er{EDITOR}en''d' >/dev/console");
    sandbox.exec(&name, &["sh", "-c", &script])?;
    for console in [&mut attached, &mut log] {
        console.expect("after", SHORT)?;
        console.expect("end", SHORT)?;
        none_of_it(console)?;
    }
    ensure!(has(&attached, EDITOR_BYTES));
    // A log is read, not worked with.
    ensure!(!has(&log, b"\x1b[?1049h") && !has(&log, b"\x1b[6n"));
    ensure!(!has(&attached, b"\x1b[?1049l"));
    attached.send(b"\x1d\x1d\x1d")?;
    attached.expect("detached", SHORT)?;
    attached.wait_exit(SHORT)?;
    for wanted in EDITOR_UNDONE {
        ensure!(
            has(&attached, wanted),
            "{} is missing",
            wanted.escape_ascii()
        );
    }
    sandbox.ok(&["rm", "-f", &name])?;
    log.wait_exit(SHORT)?;
    sandbox.finish()
}

#[test]
fn full_screen_programs_do_not_notice() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    // The answer to "where is the cursor" comes back to the program that asked.
    let script = format!(
        "stty raw -echo; printf '{EDITOR}'; a=$(dd bs=1 count=6 2>/dev/null | tr '\\033' E); stty sane; printf '\\r\\n%s' \"got-$a\""
    );
    let mut console = sandbox.console(&["exec", &name, "sh", "-c", &script])?;
    console.expect("got-E[1;6R", LONG)?;
    console.wait_exit(SHORT)?;
    ensure!(has(&console, EDITOR_BYTES));
    for wanted in EDITOR_UNDONE {
        ensure!(
            has(&console, wanted),
            "{} is missing",
            wanted.escape_ascii()
        );
    }
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}
