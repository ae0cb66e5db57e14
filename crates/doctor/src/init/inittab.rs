//! `/etc/inittab` in both dialects: who listens on terminals, and whether OpenRC is called.

use crate::Result;
use crate::getty::{self, Command, recognise, tty_name};
use crate::reading::{base_name, command_path, evidence, text};
use repot_model::{Evidence, GettyKind, InitFacts, InitId};
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
    let level = entries
        .iter()
        .find(|entry| entry.action == "initdefault")
        .and_then(|entry| entry.levels.chars().next())
        .unwrap_or('2');
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
