//! `/etc/inittab` in both dialects: who listens on terminals, and whether OpenRC is called.

use super::{Hearing, Setup};
use crate::getty::{self, Command, recognise, tty_name};
use crate::reading::{PROGRAM_DIRS, base_name, command_path, evidence, text};
use crate::{Result, edit};
use repot_model::{Edit, Evidence, Getty, GettyKind, InitFacts, InitId, Signal};
use repot_rootfs::RootRead;
use repot_rootfs::format::inittab::{self, Entry};

/// Where both dialects live.
const INITTAB: &str = "/etc/inittab";

/// Reads the inittab; `None` if there is none.
pub(crate) fn read(root: &RootRead) -> Result<Option<Vec<Entry>>> {
    Ok(text(root, INITTAB)?.map(|content| inittab::parse(&content)))
}

fn seen(entry: &Entry) -> Evidence {
    let line = format!(
        "{}:{}:{}:{}",
        entry.id, entry.levels, entry.action, entry.process
    );
    evidence(INITTAB, Some(entry.line), &line)
}

/// sysvinit: lines of the default runlevel that are respawned.
///
/// # Source
/// inittab(5).
pub(crate) fn sysv_gettys(root: &RootRead, facts: &mut InitFacts, entries: &[Entry]) {
    let level = default_level(entries);
    for entry in entries {
        let here = entry.levels.is_empty() || entry.levels.contains(level);
        if !here || !matches!(entry.action.as_str(), "respawn" | "once" | "wait") {
            continue;
        }
        if let Some(command) = recognise(&entry.words()) {
            // A login or shell without a redirection runs on the console, as init starts it there.
            let tty = command.tty.clone().unwrap_or_else(|| "console".to_owned());
            getty::add(root, facts, &command, &tty, seen(entry));
        }
    }
}

/// busybox and procd: the first field is the terminal, empty for the console.
///
/// # Source
/// busybox `examples/inittab`; procd `inittab.c`, whose `askconsole` and `askconsolelate` mean the console.
pub(crate) fn busybox_gettys(root: &RootRead, facts: &mut InitFacts, entries: &[Entry]) {
    for entry in entries {
        let asks = matches!(
            entry.action.as_str(),
            "askfirst" | "askconsole" | "askconsolelate"
        );
        if !asks && !matches!(entry.action.as_str(), "respawn" | "respawnlate" | "once") {
            continue;
        }
        let words = entry.words();
        let own = (!entry.id.is_empty()).then(|| entry.id.trim_start_matches("/dev/"));
        let Some(command) = recognise(&words).or_else(|| unknown(&words, asks)) else {
            continue;
        };
        // `tty1::respawn:/sbin/getty 38400 tty1`: what the getty opens is what counts.
        let tty = match &command.tty {
            Some(tty) if tty != "-" => tty.clone(),
            Some(_) | None => own.unwrap_or("console").to_owned(),
        };
        getty::add(root, facts, &command, &tty, seen(entry));
    }
}

/// Whatever asks for a key press first is meant for a person, be it `/usr/libexec/login.sh`.
fn unknown(words: &[&str], asks: bool) -> Option<Command> {
    let program = words.first()?;
    (asks || program.contains("login")).then(|| Command {
        program: (*program).to_owned(),
        tty: words.iter().skip(1).find_map(|word| tty_name(word)),
        kind: GettyKind::Shell,
    })
}

/// Notes OpenRC as second manager if a line, or the script that a line names, runs `openrc`.
///
/// # Source
/// Gentoo and Alpine: `::sysinit:/sbin/openrc sysinit`; Debian: `/etc/init.d/rc` and `rcS` of the package openrc.
pub(crate) fn find_openrc(root: &RootRead, facts: &mut InitFacts, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let words = entry.words();
        let Some(&program) = words.first() else {
            continue;
        };
        // Gentoo called it `/sbin/rc sysinit` until 2013.
        if base_name(program) == "openrc" || program == "/sbin/rc" {
            facts.evidence.push(seen(entry));
            if command_path(root, program).is_some() {
                facts.on_top = Some(InitId("openrc".to_owned()));
            } else {
                let missing = format!("{program} is not in the tree");
                facts
                    .evidence
                    .push(evidence(INITTAB, Some(entry.line), &missing));
            }
            return Ok(());
        }
        if !program.starts_with("/etc/init.d/rc") {
            continue;
        }
        let script = text(root, program)?.unwrap_or_default();
        let runs = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            !line.starts_with('#') && words.any(|word| base_name(word) == "openrc")
        };
        let found = (1..)
            .zip(script.lines().map(str::trim))
            .find(|(_, line)| runs(line));
        if let Some((number, line)) = found {
            facts.evidence.push(evidence(program, Some(number), line));
            facts.on_top = Some(InitId("openrc".to_owned()));
            return Ok(());
        }
    }
    Ok(())
}

/// What an inittab lets do, and what has to be written for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `id:runlevels:action:process`.
    SysV,
    /// `tty::action:process`.
    Busybox,
}

/// Where Debian's sysvinit keeps a fresh inittab.
const TEMPLATE: &str = "/usr/share/sysvinit/inittab";

/// The text of the inittab with the edits so far, or a template of the distribution's.
fn current(setup: &Setup<'_>) -> Result<Option<String>> {
    if let Some(text) = setup.tree.text(INITTAB)? {
        return Ok(Some(text));
    }
    setup.tree.text(TEMPLATE)
}

/// Adds a line that puts a getty on a terminal, behind the other gettys; lines that tried with a program that is not there become
/// comments.
pub(crate) fn listen(setup: &Setup<'_>, dialect: Dialect, tty: &str) -> Result<Vec<Edit>> {
    let (Some(command), Some(text)) = (setup.getty(tty), current(setup)?) else {
        return Ok(Vec::new());
    };
    let entries = inittab::parse(&text);
    let getty_tty = |entry: &Entry| recognise(&entry.words()).map(|command| command.tty);
    let failing: Vec<u32> = entries
        .iter()
        .filter(|entry| starts_again(entry) && getty_tty(entry) == Some(Some(tty.to_owned())))
        .map(|entry| entry.line)
        .collect();
    let after = entries
        .iter()
        .filter(|entry| getty_tty(entry).flatten().is_some())
        .map(|entry| entry.line)
        .next_back();
    let line = match dialect {
        Dialect::SysV => {
            let Some(id) = inittab::free_id(&entries, "co") else {
                return Ok(Vec::new());
            };
            let level = default_level(&entries);
            let levels = match "2345".contains(level) {
                true => "2345".to_owned(),
                false => level.to_string(),
            };
            format!("{id}:{levels}:respawn:{command}")
        }
        // An empty field is the console, which init then gives it as standard input.
        Dialect::Busybox if tty == "console" => format!("::respawn:{command}"),
        Dialect::Busybox => format!("{tty}::respawn:{command}"),
    };
    let text = inittab::add(&inittab::disable(&text, &failing), after, &line);
    let why = format!("nobody listens on {tty}");
    Ok(vec![edit::write(setup.tree, INITTAB, text, &why)])
}

/// Makes a comment of the one line that is meant, whatever its terminal.
pub(crate) fn switch_off_line(setup: &Setup<'_>, getty: &Getty) -> Result<Vec<Edit>> {
    let text = setup.tree.text(INITTAB)?.unwrap_or_default();
    let lines: Vec<u32> = inittab::parse(&text)
        .iter()
        .filter(|entry| seen(entry).seen == getty.evidence.seen)
        .map(|entry| entry.line)
        .collect();
    if lines.is_empty() || getty.evidence.path != INITTAB {
        return Ok(Vec::new());
    }
    let text = inittab::disable(&text, &lines);
    let why = "one login is enough there";
    Ok(vec![edit::write(setup.tree, INITTAB, text, why)])
}

/// Makes comments of the lines that put something on a terminal.
pub(crate) fn switch_off_getty(setup: &Setup<'_>, getty: &Getty) -> Result<Vec<Edit>> {
    let Some(text) = setup.tree.text(INITTAB)? else {
        return Ok(Vec::new());
    };
    let entries = inittab::parse(&text);
    let level = default_level(&entries);
    let lines: Vec<u32> = entries
        .iter()
        .filter(|entry| starts_again(entry))
        .filter(|entry| entry.levels.is_empty() || entry.levels.contains(level))
        .filter(|entry| {
            let own = entry.id.trim_start_matches("/dev/");
            match recognise(&entry.words()).map(|command| command.tty) {
                Some(Some(tty)) if tty != "-" => tty == getty.tty,
                Some(_) | None => own == getty.tty,
            }
        })
        .map(|entry| entry.line)
        .collect();
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let why = format!("{} is started over and over", getty.tty);
    let text = inittab::disable(&text, &lines);
    Ok(vec![edit::write(setup.tree, INITTAB, text, &why)])
}

fn starts_again(entry: &Entry) -> bool {
    matches!(
        entry.action.as_str(),
        "respawn" | "respawnlate" | "askfirst" | "askconsole" | "askconsolelate"
    )
}

/// The runlevel that a boot ends in.
fn default_level(entries: &[Entry]) -> char {
    entries
        .iter()
        .find(|entry| entry.action == "initdefault")
        .and_then(|entry| entry.levels.chars().next())
        .unwrap_or('2')
}

/// Whether one of these actions' lines runs a program that powers off; if not, the edit that makes it so: other lines of the actions
/// become comments, and one that does is put behind them.
///
/// # Source
/// inittab(5), `powerwait` (SIGPWR), `ctrlaltdel` (SIGINT).
pub(crate) fn hear(
    setup: &Setup<'_>,
    signal: Signal,
    actions: &[&str],
    line: &str,
) -> Result<Hearing> {
    let Some(text) = current(setup)? else {
        return Ok(Hearing::Never);
    };
    let entries = inittab::parse(&text);
    let of_action: Vec<&Entry> = entries
        .iter()
        .filter(|entry| actions.contains(&entry.action.as_str()))
        .collect();
    if of_action
        .iter()
        .any(|entry| powers_off(setup, &entry.words()))
    {
        return Ok(Hearing::Hears(signal));
    }
    let lines: Vec<u32> = of_action.iter().map(|entry| entry.line).collect();
    let text = inittab::add(
        &inittab::disable(&text, &lines),
        lines.last().copied(),
        line,
    );
    let why = format!("{signal} is to power the machine off");
    let edit = edit::write(setup.tree, INITTAB, text, &why);
    Ok(Hearing::Once(signal, vec![edit]))
}

/// Whether a command is one that powers off or halts, and is in the tree.
fn powers_off(setup: &Setup<'_>, words: &[&str]) -> bool {
    let Some((program, args)) = words.split_first() else {
        return false;
    };
    let exists = match program.starts_with('/') {
        true => setup.tree.is_executable(program),
        false => PROGRAM_DIRS
            .iter()
            .any(|dir| setup.tree.is_executable(&format!("{dir}/{program}"))),
    };
    let has = |word: &str| args.contains(&word);
    exists
        && match base_name(program) {
            "poweroff" | "halt" => true,
            "init" | "telinit" => has("0"),
            "shutdown" => {
                args.iter()
                    .any(|arg| arg.starts_with('-') && arg.contains(['h', 'P', 'H', 'p']))
                    && !has("-r")
            }
            "openrc-shutdown" => !has("-r") && !has("--reboot"),
            _ => false,
        }
}
