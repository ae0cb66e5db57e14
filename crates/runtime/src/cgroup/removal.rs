//! The end of cgroups: kills what is left in them and removes them.

use super::freezer::thaw_below;
use super::hierarchies::mounted;
use crate::error::{Error, Result};
use std::path::Path;

/// Removes what machines of that path left in every hierarchy of this host.
pub(crate) fn remove_everywhere(path: &str) -> Result<()> {
    for hierarchy in mounted()? {
        let dir = hierarchy.root.join(path);
        if dir.is_dir() {
            remove(&dir)?;
        }
    }
    Ok(())
}

/// How often a directory is tried again whose last process is just being buried; 5 ms apart.
const TRIES: u32 = 400;

/// Kills all processes in a cgroup and its children, then removes them.
pub(super) fn remove(dir: &Path) -> Result<()> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if remove_once(dir) {
            // The folder of all machines goes with the last of them.
            let _ = dir.parent().map(std::fs::remove_dir);
            return Ok(());
        }
    }
    Err(Error::Io {
        what: "removing cgroup",
        path: dir.to_owned(),
        source: std::io::ErrorKind::ResourceBusy.into(),
    })
}

fn remove_once(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => return true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_once(&child.path());
    }
    let processes = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in processes
        .lines()
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    thaw_below(dir);
    std::fs::remove_dir(dir).is_ok() || !dir.exists()
}
