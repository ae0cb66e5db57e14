//! How systemd's units are unmasked, masked, wanted and exchanged, by links and files in `/etc/systemd/system`.
//!
//! What a distribution ships below `/usr/lib` stays as it is unless a mask is the shipped file itself.

use super::systemd_units::{GENERATOR_DIRS, UNIT_DIRS};
use super::{Hearing, Setup};
use crate::reading::base_name;
use crate::{Result, View, edit};
use repot_model::{Edit, Signal};

/// Where an administrator's units are, which hide those of the distribution (systemd.unit(5)).
const ADMIN: &str = "/etc/systemd/system";

/// What a name in a search path means.
enum State {
    /// A file there.
    Found(String),
    /// A link to `/dev/null`, or an empty file.
    Masked(String),
    /// Nowhere.
    Missing,
}

fn state(tree: &View<'_>, dirs: &[&str], name: &str) -> State {
    for dir in dirs {
        let path = format!("{dir}/{name}");
        if tree
            .read_link(&path)
            .is_some_and(|link| link.ends_with("/dev/null"))
        {
            return State::Masked(path);
        }
        match tree.metadata(&path) {
            Some(found) if tree.is_file(&path) && found.size_bytes == 0 => {
                return State::Masked(path);
            }
            Some(_) => return State::Found(path),
            None => {}
        }
    }
    State::Missing
}

/// `console-getty.service` and what starts it, unmasked, or written where it is missing.
///
/// # Source
/// systemd-getty-generator(8); systemd `units/console-getty.service.in`, `units/getty.target`.
pub(crate) fn console_getty(setup: &Setup<'_>) -> Result<Vec<Edit>> {
    let Some(getty) = setup.getty("-") else {
        return Ok(Vec::new());
    };
    let service = format!(
        "[Unit]\nDescription=Console Getty\nAfter=systemd-user-sessions.service plymouth-quit-wait.service\n\
         ConditionPathExists=/dev/console\n\n[Service]\nExecStart=-{getty}\nType=idle\nRestart=always\n\
         UtmpIdentifier=cons\nStandardInput=tty\nStandardOutput=tty\nTTYPath=/dev/console\nTTYReset=yes\n\
         TTYVHangup=yes\nIgnoreSIGPIPE=no\nSendSIGHUP=yes\n\n[Install]\nWantedBy=getty.target\n"
    );
    let target = "[Unit]\nDescription=Login Prompts\n";
    // Edits are tried out on a copy, since a mask may hide another.
    let mut tree = setup.tree.clone();
    let mut edits = Vec::new();
    let unit = ensure(&mut tree, "console-getty.service", &service, &mut edits);
    ensure(&mut tree, "getty.target", target, &mut edits);
    let why = "the console's getty is to be started";
    if !matches!(
        state(&tree, GENERATOR_DIRS, "systemd-getty-generator"),
        State::Found(_)
    ) {
        let wanted = format!("{ADMIN}/getty.target.wants/console-getty.service");
        if tree.symlink_kind(&wanted).is_none() {
            edits.push(edit::link(&tree, &wanted, &unit, why));
        }
    }
    if !is_wanted(&tree, "getty.target")? {
        let wanted = format!("{ADMIN}/multi-user.target.wants/getty.target");
        if let State::Found(target) = state(&tree, UNIT_DIRS, "getty.target") {
            edits.push(edit::link(&tree, &wanted, &target, why));
        }
    }
    if edits.is_empty() {
        // Everything is in place but the program: the unit names one that is not in the tree.
        edits.push(edit::write(
            &tree,
            &format!("{ADMIN}/console-getty.service"),
            service,
            why,
        ));
    }
    Ok(edits)
}

/// Has the getty itself open `/dev/console`. From 258 on, systemd opens the device in its place that
/// `/sys/class/tty/console/active` names, unless `/sys` is read-only: in a container that is the host's.
///
/// # Source
/// systemd `src/basic/terminal-util.c`, `resolve_dev_console`; systemd/systemd#39036.
pub(crate) fn console_by_name(setup: &Setup<'_>) -> Result<Vec<Edit>> {
    let Some(getty) = setup.getty("console") else {
        return Ok(Vec::new());
    };
    let path = format!("{ADMIN}/console-getty.service.d/by-name.conf");
    let text = format!(
        "# The getty opens /dev/console, which systemd takes for the host's where /sys can be written to.\n\
         [Service]\nExecStart=\nExecStart=-{getty}\nStandardInput=null\nStandardOutput=journal\n\
         TTYPath=\nTTYReset=no\nTTYVHangup=no\n"
    );
    if setup.tree.text(&path)?.as_deref() == Some(text.as_str()) {
        return Ok(Vec::new());
    }
    let why = "the console's getty is to find it where /sys can be written to";
    Ok(vec![edit::write(setup.tree, &path, text, why)])
}

/// A unit that is there and not masked: masks go, one that is missing is written. Where it is.
fn ensure(tree: &mut View<'_>, name: &str, text: &str, edits: &mut Vec<Edit>) -> String {
    // As many masks as there are directories.
    for _ in UNIT_DIRS {
        let edit = match state(tree, UNIT_DIRS, name) {
            State::Found(path) => return path,
            State::Masked(path) if path.starts_with(ADMIN) => {
                edit::remove(tree, &path, "a mask keeps it from being started")
            }
            // The distribution's own file is the mask, or there is none: one above it counts.
            State::Masked(_) | State::Missing => {
                let path = format!("{ADMIN}/{name}");
                edit::write(tree, &path, text, "the tree has no such unit")
            }
        };
        tree.apply(&edit);
        edits.push(edit);
    }
    format!("{ADMIN}/{name}")
}

/// Whether some unit's `.wants` or `.requires` directory has a unit.
fn is_wanted(tree: &View<'_>, unit: &str) -> Result<bool> {
    for dir in UNIT_DIRS {
        for name in tree.names(dir)? {
            let is_list = name.ends_with(".wants") || name.ends_with(".requires");
            if is_list && tree.symlink_kind(&format!("{dir}/{name}/{unit}")).is_some() {
                return Ok(true);
            }
        }
    }
    let multi_user = tree.text("/usr/lib/systemd/system/multi-user.target")?;
    Ok(multi_user.is_some_and(|text| {
        text.lines().any(|line| {
            (line.starts_with("Wants=") || line.starts_with("Requires="))
                && line.split(['=', ' ']).any(|word| word == unit)
        })
    }))
}

/// Masks a unit as `systemctl mask` does.
pub(crate) fn mask(tree: &View<'_>, unit: &str, why: &str) -> Result<Vec<Edit>> {
    Ok(match state(tree, UNIT_DIRS, unit) {
        State::Found(_) => {
            vec![edit::link(
                tree,
                &format!("{ADMIN}/{unit}"),
                "/dev/null",
                why,
            )]
        }
        State::Masked(_) | State::Missing => Vec::new(),
    })
}

/// Masks a unit that a boot would start.
pub(crate) fn switch_off(tree: &View<'_>, unit: &str) -> Result<Vec<Edit>> {
    match is_wanted(tree, unit)? {
        true => mask(tree, unit, "not started any more (systemctl(1), mask)"),
        false => Ok(Vec::new()),
    }
}

/// Targets that end in a power-off. In a container halt does so as well.
const ENDS: &[&str] = &["poweroff.target", "halt.target", "exit.target"];

/// SIGRTMIN+3 halts, +4 powers off. SIGPWR and SIGINT start targets which the administrator may exchange by a link.
///
/// # Source
/// systemd(1), "Signals"; systemd.special(7), `sigpwr.target` and `ctrl-alt-del.target`.
pub(crate) fn hear(tree: &View<'_>, wanted: Option<Signal>) -> Result<Hearing> {
    let signal = wanted.unwrap_or(Signal::rtmin(4));
    let name = match signal {
        Signal::PWR => "sigpwr.target",
        Signal::INT => "ctrl-alt-del.target",
        signal if signal == Signal::rtmin(3) || signal == Signal::rtmin(4) => {
            return Ok(Hearing::Hears(signal));
        }
        _ => return Ok(Hearing::Never),
    };
    for dir in UNIT_DIRS {
        let path = format!("{dir}/{name}");
        if let Some(to) = tree.read_link(&path) {
            if ENDS.contains(&base_name(&to)) {
                return Ok(Hearing::Hears(signal));
            }
            break;
        }
        if tree.is_file(&path) {
            break;
        }
    }
    let State::Found(poweroff) = state(tree, UNIT_DIRS, "poweroff.target") else {
        return Ok(Hearing::Never);
    };
    let why = format!("{signal} is to power the machine off");
    let edit = edit::link(tree, &format!("{ADMIN}/{name}"), &poweroff, &why);
    Ok(Hearing::Once(signal, vec![edit]))
}
