//! What a test may have left behind on the machine that it ran on.
//!
//! [`HostState::capture`] before, once more after, and [`HostState::diff`] between them:
//! mounts, cgroups, kernel settings, processes and files of repot, network devices. Things
//! that change by themselves are left out, so on a quiet machine an empty list means that
//! nothing was left. A test that runs while others boot machines must look for its own
//! machine's name in the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How deep below repot's own directories entries are listed: names of machines and what is
/// in them, not whole images.
const OWN_DEPTH: usize = 3;

/// Kernel settings that change by themselves, or that container engines change for their bridges, as prefixes below
/// `/proc/sys`. Those of single network devices come and go with the devices, which are listed on their own.
const RESTLESS: [&str; 23] = [
    "dev/cdrom",
    "fs/aio-nr",
    "fs/binfmt_misc",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-",
    "fs/quota",
    // What the kernel counts and warns of when a disk keeps somebody waiting for long.
    "kernel/hung_task_detect_count",
    "kernel/hung_task_warnings",
    "kernel/ns_last_pid",
    "kernel/perf_event_max_sample_rate",
    "kernel/perf_cpu_time_max_percent",
    "kernel/pty/nr",
    "kernel/random/",
    "kernel/tainted",
    "net/bridge/",
    "net/ipv4/conf/",
    "net/ipv4/ip_forward",
    "net/ipv4/neigh/",
    "net/ipv6/conf/",
    "net/ipv6/neigh/",
    "net/netfilter/",
    "net/mptcp/",
];

/// Beginnings of the names of network devices that container engines make, and remove with their last container: tests of
/// engines run beside others.
const OF_ENGINES: [&str; 9] = [
    "br-", "cni", "docker", "lxcbr", "lxdbr", "podman", "vb-", "ve-", "veth",
];

/// The state of the host, kind by kind, as lines that can be compared and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    lines: BTreeMap<&'static str, BTreeSet<String>>,
}

impl HostState {
    /// Looks at the host now.
    ///
    /// # Errors
    /// `/proc` or `/sys` cannot be read.
    pub fn capture() -> Result<HostState> {
        let lines = BTreeMap::from([
            ("mount", mounts()?),
            ("cgroup", cgroups()?),
            ("sysctl", sysctls()?),
            ("process", processes()?),
            ("file", own_files()?),
            ("network device", network_devices()?),
        ]);
        Ok(HostState { lines })
    }

    /// What differs, as lines that begin with `+` or `-` and the kind. Empty: nothing.
    #[must_use]
    pub fn diff(before: &HostState, after: &HostState) -> Vec<String> {
        let nothing = BTreeSet::new();
        let mut lines = Vec::new();
        for (kind, was) in &before.lines {
            let is = after.lines.get(kind).unwrap_or(&nothing);
            lines.extend(was.difference(is).map(|line| format!("- {kind} {line}")));
            lines.extend(is.difference(was).map(|line| format!("+ {kind} {line}")));
        }
        lines
    }
}

fn mounts() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    Ok(table.lines().map(str::to_owned).collect())
}

/// Every cgroup of every hierarchy that is mounted where all systems mount them.
///
/// # Errors
/// They cannot be listed.
pub fn cgroups() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in list(&dir)? {
            // Links are v1's other names for joint controllers: cpu -> cpu,cpuacct.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.path().display().to_string());
                todo.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn sysctls() -> Result<BTreeSet<String>> {
    let root = Path::new("/proc/sys");
    let mut found = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in list(&dir)? {
            let path = entry.path();
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            if RESTLESS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(path);
            } else if let Ok(value) = fs::read(&path) {
                // Some can only be written; they have no state to compare.
                let value = String::from_utf8_lossy(&value);
                found.insert(format!("{name} = {}", value.trim_end().escape_debug()));
            }
        }
    }
    Ok(found)
}

/// Processes whose name or program is repot's, but for this one and those that started it: a
/// test's own path usually holds the word too.
fn processes() -> Result<BTreeSet<String>> {
    let ancestors = ancestors();
    let mut found = BTreeSet::new();
    for entry in list(Path::new("/proc"))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        let dir = entry.path();
        // A process may end while we look at it, and kernel threads have no program.
        let comm = fs::read_to_string(dir.join("comm")).unwrap_or_default();
        let exe = fs::read_link(dir.join("exe"))
            .unwrap_or_default()
            .display()
            .to_string();
        if !ancestors.contains(&pid) && (comm.contains("repot") || exe.contains("repot")) {
            found.insert(format!("{pid} {} {exe}", comm.trim_end()));
        }
    }
    Ok(found)
}

/// Processes whose command line, environment or cgroup mentions `text`, but for this one and
/// those that started it. For a text that only one test uses, this tells what that test left
/// behind, whoever else works on the machine.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes_mentioning(text: &str) -> Result<BTreeSet<String>> {
    let ancestors = ancestors();
    let mut found = BTreeSet::new();
    for entry in list(Path::new("/proc"))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        let mentions = |file: &str| {
            let content = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&content).contains(text)
        };
        if !ancestors.contains(&pid) && ["cmdline", "environ", "cgroup"].into_iter().any(mentions) {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            found.insert(format!("{pid} {}", words.trim_end()));
        }
    }
    Ok(found)
}

/// This process, its parent, and so on up.
fn ancestors() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid != 0 && found.insert(*pid)) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        next = parent.and_then(|parent| parent.trim().parse().ok());
    }
    found
}

/// What is in repot's directories, for root and for the user who runs the test.
fn own_files() -> Result<BTreeSet<String>> {
    let below =
        |variable: &str| std::env::var_os(variable).map(|dir| Path::new(&dir).join("repot"));
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/repot"));
    let places = [
        Some(PathBuf::from("/run/repot")),
        Some(PathBuf::from("/var/lib/repot")),
        // nspawn's, where it leaves an entry for each machine that it was killed with.
        Some(PathBuf::from("/run/systemd/nspawn/propagate")),
        below("XDG_RUNTIME_DIR"),
        below("XDG_DATA_HOME").or(home),
    ];
    let mut found = BTreeSet::new();
    let mut todo: Vec<_> = places
        .into_iter()
        .flatten()
        .map(|place| (place, 0))
        .collect();
    while let Some((dir, depth)) = todo.pop() {
        for entry in list(&dir)? {
            found.insert(entry.path().display().to_string());
            if depth + 1 < OWN_DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(found)
}

/// The host's network devices, but for [`OF_ENGINES`].
fn network_devices() -> Result<BTreeSet<String>> {
    let mut devices = names(Path::new("/sys/class/net"))?;
    devices.retain(|name| !OF_ENGINES.iter().any(|prefix| name.starts_with(prefix)));
    Ok(devices)
}

fn names(dir: &Path) -> Result<BTreeSet<String>> {
    Ok(list(dir)?
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// The entries of a directory; none if it is not there, is gone meanwhile, or is closed to us.
fn list(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        // An entry that cannot be read has vanished while we looked.
        Ok(entries) => Ok(entries.filter_map(Result::ok).collect()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(Vec::new())
        }
        // What cgroupfs and procfs say of a directory that goes away.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error).with_context(|| format!("listing {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_can_be_captured_and_has_mounts_and_settings() {
        let state = HostState::capture().unwrap();
        assert!(!state.lines["mount"].is_empty());
        assert!(state.lines["network device"].contains("lo"));
        assert!(
            state.lines["sysctl"]
                .iter()
                .any(|line| line.starts_with("kernel/hostname = "))
        );
        assert!(HostState::diff(&state, &state).is_empty());
    }

    #[test]
    fn the_test_itself_is_no_leftover() {
        let own = format!("{} ", std::process::id());
        assert!(
            !processes()
                .unwrap()
                .iter()
                .any(|line| line.starts_with(&own))
        );
    }

    #[test]
    fn differences_are_told_by_kind_and_direction() {
        let state = |mount: &str| HostState {
            lines: BTreeMap::from([("mount", BTreeSet::from(["/".to_owned(), mount.to_owned()]))]),
        };
        let lines = HostState::diff(&state("/old"), &state("/new"));
        assert_eq!(lines, ["- mount /old", "+ mount /new"]);
    }
}
