//! systemd's console getty: whether anything keeps it from being started.
//!
//! In a container `systemd-getty-generator` puts `console-getty.service` into `getty.target`. That fails without
//! a word if one of the three is masked or deleted, as images for application containers like to do.

use crate::Result;
use crate::getty;
use crate::reading::{command_path, entries, evidence, optional, text};
use repot_model::{Evidence, GettyKind, InitFacts};
use repot_rootfs::format::unit;
use repot_rootfs::{FileKind, RootRead};

/// Unit directories, the first wins (systemd.unit(5)); `/run` is empty before the boot.
pub(crate) const UNIT_DIRS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Generator directories, the first wins (systemd.generator(7)).
pub(crate) const GENERATOR_DIRS: &[&str] = &[
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
    "/lib/systemd/system-generators",
];

/// What a name means in a search path.
enum State {
    /// A file.
    Found(String),
    /// A link to `/dev/null` or an empty file: what comes later in the path is hidden.
    Masked(Evidence),
    /// Nowhere.
    Missing,
}

/// Adds the getty on the console, or why there is none.
///
/// # Source
/// systemd-getty-generator(8); `src/getty-generator/getty-generator.c`: in a container, `console-getty.service`.
pub(crate) fn gettys(root: &RootRead, facts: &mut InitFacts) -> Result<()> {
    let mut broken = Vec::new();
    let mut unit = None;
    for (dirs, name) in [
        (UNIT_DIRS, "getty.target"),
        (UNIT_DIRS, "console-getty.service"),
        (GENERATOR_DIRS, "systemd-getty-generator"),
    ] {
        match state(root, dirs, name)? {
            State::Found(path) if name == "console-getty.service" => unit = Some(path),
            State::Found(_) => {}
            State::Masked(seen) => broken.push(seen),
            State::Missing => {
                let dir = dirs.last().copied().unwrap_or_default();
                broken.push(evidence(
                    &format!("{dir}/{name}"),
                    None,
                    &format!("{name} is missing"),
                ));
            }
        }
    }
    // Enabled by hand, the generator is not needed.
    let wanted = "/etc/systemd/system/getty.target.wants/console-getty.service";
    if unit.is_some() && root.symlink_metadata(wanted).is_ok() {
        broken.retain(|seen| !seen.path.ends_with("systemd-getty-generator"));
    }
    if broken.is_empty()
        && let Some(seen) = not_wanted(root)?
    {
        broken.push(seen);
    }
    let Some(unit) = unit.filter(|_| broken.is_empty()) else {
        facts.broken_gettys.append(&mut broken);
        return Ok(());
    };
    let (command, seen) = exec_start(root, &unit)?;
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    match getty::recognise(&words) {
        // `agetty ... - $TERM`: standard input is the console.
        Some(command) => getty::add(root, facts, &command, "console", seen),
        // Written anew by somebody; whatever it is, it is meant to listen there.
        None if words
            .first()
            .is_some_and(|program| command_path(root, program).is_some()) =>
        {
            getty::push(facts, "console", GettyKind::Login, seen);
        }
        None => facts.broken_gettys.push(seen),
    }
    Ok(())
}

/// The target whose boot brings gettys, if nothing in it wants `getty.target`.
///
/// # Source
/// systemd `units/getty.target`: installed as `multi-user.target.wants/getty.target`.
fn not_wanted(root: &RootRead) -> Result<Option<Evidence>> {
    let State::Found(path) = state(root, UNIT_DIRS, "multi-user.target")? else {
        return Ok(None);
    };
    for dir in UNIT_DIRS {
        for entry in entries(root, dir)? {
            let is_list = [".target.wants", ".target.requires"]
                .iter()
                .any(|suffix| entry.name.ends_with(suffix));
            let link = format!("{dir}/{}/getty.target", entry.name);
            if is_list && optional(root.symlink_metadata(&link))?.is_some() {
                return Ok(None);
            }
        }
    }
    let settings = unit::parse(&text(root, &path)?.unwrap_or_default());
    let names_it = |value: &str| {
        value
            .split_ascii_whitespace()
            .any(|word| word == "getty.target")
    };
    if settings.iter().any(|setting| {
        matches!(setting.key.as_str(), "Wants" | "Requires") && names_it(&setting.value)
    }) {
        return Ok(None);
    }
    Ok(Some(evidence(&path, None, "nothing wants getty.target")))
}

/// The command of a service: the last `ExecStart=`, drop-ins included, without its prefix characters.
fn exec_start(root: &RootRead, unit: &str) -> Result<(String, Evidence)> {
    let name = crate::reading::base_name(unit);
    let mut files = vec![unit.to_owned()];
    for dir in UNIT_DIRS.iter().rev() {
        for entry in entries(root, &format!("{dir}/{name}.d"))? {
            if entry.name.ends_with(".conf") {
                files.push(format!("{dir}/{name}.d/{}", entry.name));
            }
        }
    }
    let mut found = (String::new(), evidence(unit, None, "no ExecStart="));
    for path in files {
        let settings = unit::parse(&text(root, &path)?.unwrap_or_default());
        for setting in settings {
            if setting.section == "Service"
                && setting.key == "ExecStart"
                && !setting.value.is_empty()
            {
                let command = setting
                    .value
                    .trim_start_matches(['-', '@', ':', '+', '!', '|']);
                let seen = evidence(
                    &path,
                    Some(setting.line),
                    &format!("ExecStart={}", setting.value),
                );
                found = (command.to_owned(), seen);
            }
        }
    }
    Ok(found)
}

/// Looks a unit or generator up in its search path.
fn state(root: &RootRead, dirs: &[&str], name: &str) -> Result<State> {
    for dir in dirs {
        let path = format!("{dir}/{name}");
        let Some(seen) = optional(root.symlink_metadata(&path))? else {
            continue;
        };
        if seen.kind == FileKind::Symlink {
            let link = optional(root.read_link(&path))?.unwrap_or_default();
            // /dev/null itself is not in every tree, so the text decides.
            if link.ends_with("/dev/null") {
                return Ok(State::Masked(evidence(
                    &path,
                    None,
                    "masked: symlink to /dev/null",
                )));
            }
        }
        match optional(root.metadata(&path))? {
            Some(found) if found.kind == FileKind::File && found.size_bytes == 0 => {
                return Ok(State::Masked(evidence(&path, None, "masked: empty file")));
            }
            Some(_) => return Ok(State::Found(path)),
            None => {}
        }
    }
    Ok(State::Missing)
}
