//! Frozen cgroups: a process in one runs no more, and in the v1 hierarchy `freezer` not even SIGKILL ends it
//! (kernel's cgroup-v1/freezer-subsystem.rst); in cgroup2 it does (cgroup-v2.rst, "cgroup.freeze").
//!
//! Who freezes a machine is the host's administrator or, in its own cgroups of cgroup2, the machine. repot thaws only
//! what it has killed.

use super::hierarchies::{Hierarchy, mounted};
use rustix::process::Pid;
use std::path::{Path, PathBuf};

/// Thaws the cgroups of that path and all below, so that processes can die that were killed.
///
/// In cgroup2 they die anyway, but a session's process between, which is outside of the machine's PID namespace, does not
/// reap what it has started there, and PID 1 waits for that (pid_namespaces(7), "The namespace init process").
pub(crate) fn thaw(path: &str) {
    for hierarchy in mounted().unwrap_or_default() {
        thaw_below(&hierarchy.root.join(path));
    }
}

/// Thaws a directory and those below, if its hierarchy can freeze.
pub(super) fn thaw_below(dir: &Path) {
    // A child that was frozen by itself stays so when its parent thaws.
    let can_freeze = [("freezer.state", "THAWED"), ("cgroup.freeze", "0")]
        .map(|(file, word)| (dir.join(file), word))
        .into_iter()
        .any(|(file, word)| file.exists() && std::fs::write(file, word).is_ok());
    if can_freeze {
        let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
        for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            thaw_below(&child.path());
        }
    }
}

/// The cgroup of a process that is frozen, if one is.
pub(crate) fn frozen(pid: i32) -> Option<PathBuf> {
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    mounted().ok()?.iter().find_map(|hierarchy| {
        let dir = hierarchy.root.join(hierarchy.path_of(&membership)?);
        is_frozen(&dir, hierarchy.is_v2).then_some(dir)
    })
}

/// Also where a parent is what was frozen. FREEZING: not all of its processes have stopped yet.
fn is_frozen(dir: &Path, is_v2: bool) -> bool {
    let file = if is_v2 {
        "cgroup.events"
    } else {
        "freezer.state"
    };
    let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    match is_v2 {
        true => text.lines().any(|line| line == "frozen 1"),
        false => text.starts_with("FR"),
    }
}

/// Takes a process of ours out of a frozen v1 cgroup into the one that this process is in; there it thaws.
pub(crate) fn rescue(pid: Pid) {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let freezer = |hierarchy: &&Hierarchy| hierarchy.options.iter().any(|o| o == "freezer");
    let mounted = mounted().unwrap_or_default();
    if let Some(hierarchy) = mounted.iter().find(freezer)
        && let Some(own) = hierarchy.path_of(&membership)
    {
        let tasks = hierarchy.root.join(own).join("tasks");
        let _ = std::fs::write(tasks, pid.as_raw_nonzero().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_is_seen_and_thawed() {
        let dir = tempfile::tempdir().unwrap();
        let child = dir.path().join("child");
        std::fs::create_dir(&child).unwrap();
        for (state, expected) in [
            ("THAWED\n", false),
            ("FREEZING\n", true),
            ("FROZEN\n", true),
        ] {
            for place in [dir.path(), &child] {
                std::fs::write(place.join("freezer.state"), state).unwrap();
            }
            assert_eq!(is_frozen(dir.path(), false), expected, "{state}");
        }
        thaw_below(dir.path());
        for place in [dir.path(), &child] {
            let state = std::fs::read_to_string(place.join("freezer.state")).unwrap();
            assert_eq!(state, "THAWED");
        }
        for (events, expected) in [
            ("populated 1\nfrozen 0\n", false),
            ("populated 1\nfrozen 1\n", true),
        ] {
            std::fs::write(dir.path().join("cgroup.events"), events).unwrap();
            assert_eq!(is_frozen(dir.path(), true), expected, "{events}");
        }
        assert!(frozen(std::process::id().cast_signed()).is_none());
    }
}
