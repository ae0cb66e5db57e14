//! Command lines that put a getty, a login or a shell on a terminal, whoever starts them.
//!
//! inittab lines, run scripts, service files and unit files all come down to a command; here it is told which
//! terminal that is about and what would answer there. Nothing is executed, no variable is expanded.

use crate::init::system;
use crate::reading::{base_name, command_path, evidence};
use repot_model::{Evidence, Facts, Getty, GettyKind, InitFacts};
use repot_rootfs::RootRead;

/// Programs that open a terminal and ask for a name.
pub(crate) const GETTYS: &[&str] = &[
    "agetty", "getty", "mingetty", "ngetty", "fgetty", "mgetty", "fbgetty", "qingy",
];

/// Programs that are a shell, or offer one.
const SHELLS: &[&str] = &[
    "sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "busybox", "sulogin",
];

/// Where terminfo(5) databases are.
const TERMINFO: &[&str] = &[
    "/usr/share/terminfo",
    "/lib/terminfo",
    "/etc/terminfo",
    "/usr/lib/terminfo",
    "/run/current-system/profile/share/terminfo",
];

/// The distribution's getty for a terminal that is standard input (`-`) or has a name. `None`: it has no getty, or no login.
pub fn getty_argv(facts: &Facts, tty: &str, term: &str) -> Option<Vec<String>> {
    let getty = facts.login.gettys.first()?;
    let name = base_name(getty);
    let login = facts.login.login.as_ref()?;
    // A getty looks for login in /bin only.
    let elsewhere =
        (!matches!(login.as_str(), "/bin/login" | "/usr/bin/login")).then_some(login.as_str());
    let mut argv = vec![getty.as_str()];
    match name {
        // --noclear keeps what the boot has shown, --keep-baud leaves the pty's settings alone (agetty(8)).
        "agetty" => {
            argv.extend(
                elsewhere
                    .into_iter()
                    .flat_map(|login| ["--login-program", login]),
            );
            argv.extend(["--noclear", "--keep-baud", tty, "115200,38400,9600", term]);
        }
        "mingetty" => {
            argv.extend(
                elsewhere
                    .into_iter()
                    .flat_map(|login| ["--loginprog", login]),
            );
            argv.extend(["--noclear", "--nohangup", tty]);
        }
        // busybox: -L does not wait for a carrier, speed 0 leaves the setting alone.
        "getty" => {
            argv.extend(elsewhere.into_iter().flat_map(|login| ["-l", login]));
            argv.extend(["-L", "0", tty, term]);
        }
        _ => argv.push(tty),
    }
    Some(argv.iter().map(|arg| (*arg).to_owned()).collect())
}

/// Whether the tree's getty ends where its terminal is the controlling one of somebody else, as runc gives the console to PID 1, and
/// that cannot be changed without CAP_SYS_ADMIN (ioctl_tty(2), `TIOCSCTTY`). agetty goes on without; busybox' getty and mingetty do
/// not, nor does an init that is its own getty.
pub fn claims_terminal(facts: &Facts) -> bool {
    let mut gettys = facts.login.gettys.iter();
    let has_agetty = gettys.any(|path| base_name(path) == "agetty");
    let init = facts.init.as_ref();
    !has_agetty || init.is_some_and(|init| system(init).is_getty())
}

/// A value for `TERM` that the tree knows: `wanted` if its terminfo has it, else the nearest. A tree without terminfo (busybox)
/// needs none.
pub fn known_term(root: &RootRead, wanted: &str) -> String {
    let databases: Vec<&&str> = TERMINFO.iter().filter(|dir| root.is_dir(dir)).collect();
    if databases.is_empty() {
        return wanted.to_owned();
    }
    let known = |term: &str| {
        let first = term.bytes().next().unwrap_or(b'x');
        databases.iter().any(|dir| {
            root.exists(&format!("{dir}/{}/{term}", char::from(first)))
                || root.exists(&format!("{dir}/{first:x}/{term}"))
        })
    };
    let fallbacks = ["xterm-256color", "xterm", "vt220", "linux", "vt100"];
    let usable = std::iter::once(wanted)
        .chain(fallbacks)
        .find(|term| known(term));
    usable.unwrap_or("linux").to_owned()
}

/// What a command line would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program as written.
    pub(crate) program: String,
    /// Terminal that it names, without `/dev/`. `-`: its standard input.
    pub(crate) tty: Option<String>,
    /// What answers.
    pub(crate) kind: GettyKind,
}

/// Recognises a command line that ends in a getty, login or shell. Words before it (`exec`, `chpst -P`, `setsid`)
/// are passed over for gettys; a login or shell only counts as the first word.
pub(crate) fn recognise(words: &[&str]) -> Option<Command> {
    let clean = |word: &str| word.trim_matches(['"', '\'', ';', '&']).to_owned();
    if let Some(at) = words
        .iter()
        .position(|word| GETTYS.contains(&base_name(&clean(word))))
    {
        let args: Vec<String> = words.iter().skip(at + 1).map(|word| clean(word)).collect();
        return Some(Command {
            program: clean(words.get(at)?),
            tty: args.iter().find_map(|word| tty_name(word)),
            kind: getty_kind(&args),
        });
    }
    let words: Vec<String> = words.iter().map(|word| clean(word)).collect();
    let (program, args) = words.split_first()?;
    let redirected = args
        .iter()
        .find_map(|word| tty_name(word.trim_start_matches(['<', '>'])));
    let kind = match base_name(program) {
        "login" if args.iter().any(|word| word == "-f") => GettyKind::Autologin,
        "login" => GettyKind::Login,
        name if SHELLS.contains(&name) => GettyKind::Shell,
        _ => return None,
    };
    Some(Command {
        program: program.clone(),
        tty: redirected,
        kind,
    })
}

/// # Source
/// agetty(8) `-a`, `-n`, `-l`; mingetty(8) `--autologin`; busybox `getty` `-n -l`.
fn getty_kind(args: &[String]) -> GettyKind {
    let mut skips_login = false;
    let mut program_is_shell = false;
    for (at, arg) in args.iter().enumerate() {
        let next = args.get(at + 1).map(String::as_str).unwrap_or_default();
        match arg.as_str() {
            "-a" | "--autologin" => return GettyKind::Autologin,
            "-n" | "--skip-login" => skips_login = true,
            "-l" | "--login-program" | "--loginprog" => {
                program_is_shell = SHELLS.contains(&base_name(next));
            }
            other if other.starts_with("--autologin=") => return GettyKind::Autologin,
            _ => {}
        }
    }
    if skips_login && program_is_shell {
        GettyKind::Shell
    } else {
        GettyKind::Login
    }
}

/// Whether a word is the name of a terminal; the name without `/dev/`.
pub(crate) fn tty_name(word: &str) -> Option<String> {
    let name = word.strip_prefix("/dev/").unwrap_or(word);
    if name == "console" || name == "-" {
        return Some(name.to_owned());
    }
    let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let is_tty = [
        "pts/",
        "lxc/tty",
        "vc/",
        "hvc",
        "xvc",
        "hvsi",
        "sclp_line",
        "ttysclp",
    ]
    .iter()
    .any(|prefix| name.strip_prefix(prefix).is_some_and(digits))
        || name.strip_prefix("tty").is_some_and(|rest| {
            // tty1, ttyS0, ttyAMA0, ttyUSB0, ttymxc0, ttyv0: letters, then digits.
            digits(rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()))
        });
    is_tty.then(|| name.to_owned())
}

/// Adds a getty to the facts, or to the broken ones if its program is not in the tree.
pub(crate) fn add(
    root: &RootRead,
    facts: &mut InitFacts,
    command: &Command,
    tty: &str,
    seen: Evidence,
) {
    // busybox' init and others take the basename's applet; a program that is missing cannot answer.
    if command_path(root, &command.program).is_none() {
        let reason = format!("{}: {} is not in the tree", seen.seen, command.program);
        facts
            .broken_gettys
            .push(evidence(&seen.path, seen.line, &reason));
        return;
    }
    push(facts, tty, command.kind, seen);
}

/// Adds a getty to the facts, unless it is there already. Two that different lines ask for on one terminal are two.
pub(crate) fn push(facts: &mut InitFacts, tty: &str, kind: GettyKind, seen: Evidence) {
    let is_same = |known: &Getty| {
        known.tty == tty && (&known.evidence.path, known.evidence.line) == (&seen.path, seen.line)
    };
    if facts.gettys.iter().any(is_same) {
        return;
    }
    facts.gettys.push(Getty {
        tty: tty.to_owned(),
        kind,
        evidence: seen,
    });
}

/// Looks through a run script for a getty. `service` is the service's name, whose end may name the terminal
/// (`agetty-tty1`, `getty@ttyS0`, `agetty.console`) where the script only has a variable.
pub(crate) fn in_script(
    root: &RootRead,
    facts: &mut InitFacts,
    service: &str,
    path: &str,
    script: &str,
) {
    let from_name = service
        .rsplit(['-', '@', '.'])
        .next()
        .and_then(tty_name)
        .or_else(|| tty_name(service));
    let mut broken = Vec::new();
    let mut mentioned = None;
    for (number, line) in (1..).zip(script.lines()) {
        let line = line.trim();
        if line.starts_with('#') || !line.contains("getty") {
            continue;
        }
        let seen = evidence(path, Some(number), line);
        match executed(line) {
            Some(command) => {
                let Some(tty) = command.tty.clone().or_else(|| from_name.clone()) else {
                    continue;
                };
                // Scripts try one getty after the other (Debian: fgetty, else getty): the first in the tree.
                if command_path(root, &command.program).is_some() {
                    push(facts, &tty, command.kind, seen);
                    return;
                }
                let reason = format!("{}: {} is not in the tree", seen.seen, command.program);
                broken.push(evidence(path, seen.line, &reason));
            }
            None => mentioned = mentioned.or(Some(seen)),
        }
    }
    // `exec setsid ${GETTY} ... "${tty}"` (Void): the name of the service is all there is to go by.
    if let (Some(tty), Some(seen)) = (from_name, mentioned)
        && broken.is_empty()
        && GETTYS.iter().any(|name| service.starts_with(name))
    {
        if GETTYS.iter().any(|name| command_path(root, name).is_some()) {
            push(facts, &tty, GettyKind::Login, seen);
            return;
        }
        broken.push(seen);
    }
    facts.broken_gettys.append(&mut broken);
}

/// The getty that a line of a script executes; tests for one, and mentions, do not count.
fn executed(line: &str) -> Option<Command> {
    line.split(['|', ';', '&']).map(str::trim).find_map(|part| {
        let words: Vec<&str> = part.split_ascii_whitespace().collect();
        let first = words.first()?;
        let starts = matches!(
            *first,
            "exec" | "setsid" | "chpst" | "respawn" | "s6-setsid" | "foreground"
        ) || first.starts_with('/') && GETTYS.contains(&base_name(first))
            || GETTYS.contains(first) && words.len() > 1;
        starts.then(|| recognise(&words)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        use GettyKind::{Autologin, Login, Shell};
        for (line, expected) in [
            (
                "/sbin/getty 38400 tty1",
                Some(("/sbin/getty", Some("tty1"), Login)),
            ),
            (
                "/sbin/agetty --noclear -a root ttyS0 115200",
                Some(("/sbin/agetty", Some("ttyS0"), Autologin)),
            ),
            (
                "exec chpst -P getty 38400 tty1 linux",
                Some(("getty", Some("tty1"), Login)),
            ),
            (
                "/sbin/getty -n -l /bin/sh -L 115200 console vt100",
                Some(("/sbin/getty", Some("console"), Shell)),
            ),
            (
                "/sbin/agetty -o '-p -- \\\\u' - $TERM",
                Some(("/sbin/agetty", Some("-"), Login)),
            ),
            (
                "/bin/login -f root </dev/tty1 >/dev/tty1",
                Some(("/bin/login", Some("tty1"), Autologin)),
            ),
            ("/bin/sh", Some(("/bin/sh", None, Shell))),
            ("/etc/init.d/rc 2", None),
            ("", None),
        ] {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let found = recognise(&words);
            let found = found
                .as_ref()
                .map(|c| (c.program.as_str(), c.tty.as_deref(), c.kind));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn terminal_names() {
        for name in [
            "tty1",
            "/dev/tty12",
            "console",
            "ttyS0",
            "ttyAMA0",
            "hvc0",
            "pts/3",
            "lxc/tty1",
        ] {
            assert!(tty_name(name).is_some(), "{name}");
        }
        for name in [
            "tty",
            "38400",
            "linux",
            "vt100",
            "root",
            "pts/",
            "ttyS",
            "/bin/tty1x",
        ] {
            assert!(tty_name(name).is_none(), "{name}");
        }
    }
}
