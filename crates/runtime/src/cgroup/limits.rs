//! Limits of a machine: which files of which hierarchy take them, and whether this host can keep them.
//!
//! The files are those of the machine's topmost cgroup. They are never given to its root user, neither by v2's delegation
//! (cgroup-v2.rst, "Delegation": the parent's limits are the parent's) nor on v1, so it cannot raise them.

use super::hierarchies::{Hierarchy, mounted};
use crate::error::{At, Error, Result};
use repot_model::Limits;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// A limit that is to be kept.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    /// The option that asks for it.
    option: &'static str,
    /// The controller's name on v1 and on v2.
    controller: [&'static str; 2],
    /// The files that take it on v1 and on v2.
    files: [Vec<Entry>; 2],
    /// Whether the machine starts without it if need be.
    is_optional: bool,
}

/// A file and its value.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    file: &'static str,
    value: String,
    /// Whether the limit is nothing without this file. One of a setting's files has to be there in any case.
    is_needed: bool,
}

fn needed(file: &'static str, value: impl ToString) -> Entry {
    Entry {
        file,
        value: value.to_string(),
        is_needed: true,
    }
}

fn if_there(file: &'static str, value: impl ToString) -> Entry {
    Entry {
        is_needed: false,
        ..needed(file, value)
    }
}

/// The period of processor limits, in microseconds: the kernel's own default (cgroup-v2.rst, "cpu.max").
const PERIOD_US: u64 = 100_000;

/// What to write for these limits. File names and values: cgroup-v2.rst, cgroup-v1/memory.rst, scheduler/sched-bwc.rst,
/// cgroup-v1/pids.rst, block/bfq-iosched.rst.
fn settings(limits: &Limits) -> Vec<Setting> {
    let memory = limits.memory_bytes.map(|bytes| Setting {
        option: "--memory",
        controller: ["memory", "memory"],
        // Memory and swap together on v1, swap alone on v2: in both cases no more than `bytes` in all.
        files: [
            vec![
                needed("memory.limit_in_bytes", bytes),
                if_there("memory.memsw.limit_in_bytes", bytes),
            ],
            vec![needed("memory.max", bytes), if_there("memory.swap.max", 0)],
        ],
        is_optional: false,
    });
    let cpus = limits.cpus_milli.map(|milli| {
        let quota = u64::from(milli) * PERIOD_US / 1000;
        Setting {
            option: "--cpus",
            controller: ["cpu", "cpu"],
            files: [
                vec![
                    needed("cpu.cfs_period_us", PERIOD_US),
                    needed("cpu.cfs_quota_us", quota),
                ],
                vec![needed("cpu.max", format!("{quota} {PERIOD_US}"))],
            ],
            is_optional: false,
        }
    });
    let pids = limits.pids.map(|pids| Setting {
        option: "--pids",
        controller: ["pids", "pids"],
        files: [
            vec![needed("pids.max", pids)],
            vec![needed("pids.max", pids)],
        ],
        is_optional: limits.pids_is_default,
    });
    let io = limits.io_weight.map(|weight| Setting {
        option: "--io-weight",
        controller: ["blkio", "io"],
        // Which of them exists is up to the I/O scheduler and the kernel's configuration.
        files: [
            vec![
                if_there("blkio.weight", blkio_weight(weight)),
                if_there("blkio.bfq.weight", bfq_weight(weight)),
            ],
            vec![
                if_there("io.weight", format!("default {weight}")),
                if_there("io.bfq.weight", bfq_weight(weight)),
            ],
        ],
        is_optional: false,
    });
    [memory, cpus, pids, io].into_iter().flatten().collect()
}

/// systemd's conversion (src/shared/cgroup-setup.h, `cgroup_weight_io_to_blkio`): 100 is 500, and 10 to 1000 is possible.
fn blkio_weight(weight: u16) -> u64 {
    (u64::from(weight) * 5).clamp(10, 1000)
}

/// systemd's conversion (src/core/cgroup.h, `BFQ_WEIGHT`): up to 100 the same, above it 100 to 10000 become 100 to 1000.
fn bfq_weight(weight: u16) -> u64 {
    match u64::from(weight) {
        weight @ 0..=100 => weight,
        weight => 100 + (weight - 100) * 900 / 9900,
    }
}

impl Setting {
    /// The hierarchy that has the controller, and the files for its version.
    fn place<'a>(&self, mounted: &'a [Hierarchy]) -> Option<(&'a Hierarchy, &[Entry])> {
        let [v1, v2] = self.controller;
        let has = |hierarchy: &&Hierarchy| match hierarchy.is_v2 {
            false => hierarchy.options.iter().any(|option| option == v1),
            true => std::fs::read_to_string(hierarchy.root.join("cgroup.controllers"))
                .is_ok_and(|names| names.split_whitespace().any(|name| name == v2)),
        };
        let hierarchy = mounted.iter().find(has)?;
        Some((hierarchy, &self.files[usize::from(hierarchy.is_v2)]))
    }

    fn refusal(&self, why: String) -> Error {
        Error::Invalid {
            what: format!("{} cannot be kept on this host", self.option),
            why,
        }
    }

    fn no_controller(&self) -> Error {
        let [v1, v2] = self.controller;
        let name = match v1 == v2 {
            true => v1.to_owned(),
            false => format!("{v1} or {v2}"),
        };
        self.refusal(format!(
            "no cgroup hierarchy that is mounted here has the {name} controller"
        ))
    }

    /// Writes the limit below `path` of the hierarchy that can keep it. Returns that directory.
    fn write<'a>(&self, mounted: &'a [Hierarchy], path: &str) -> Result<&'a Hierarchy> {
        let (hierarchy, files) = self.place(mounted).ok_or_else(|| self.no_controller())?;
        let dir = hierarchy.root.join(path);
        let mut written = 0;
        for entry in files {
            let file = dir.join(entry.file);
            match write_existing(&file, &entry.value) {
                Ok(()) => written += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if entry.is_needed {
                        return Err(self.refusal(format!(
                            "{} does not exist; was the controller handed down in cgroup.subtree_control above it?",
                            file.display()
                        )));
                    }
                }
                Err(error) => return Err(error).at("setting a limit in", file),
            }
        }
        if written == 0 {
            let names: Vec<&str> = files.iter().map(|entry| entry.file).collect();
            return Err(self.refusal(format!(
                "{} has none of {}",
                dir.display(),
                names.join(", ")
            )));
        }
        Ok(hierarchy)
    }
}

/// A cgroup has the files that it has: none may be made.
fn write_existing(file: &Path, value: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

/// Writes the limits for the cgroup at `path`. Returns the hierarchies that keep one of them, where the machine's processes
/// therefore have to be, and what was done without.
///
/// # Errors
/// A limit that was asked for cannot be kept.
pub(super) fn apply<'a>(
    limits: &Limits,
    mounted: &'a [Hierarchy],
    path: &str,
) -> Result<(Vec<&'a Hierarchy>, Vec<String>)> {
    let mut keepers = Vec::new();
    let mut warnings = Vec::new();
    for setting in settings(limits) {
        match setting.write(mounted, path) {
            Ok(hierarchy) => keepers.push(hierarchy),
            Err(error) if setting.is_optional => warnings.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok((keepers, warnings))
}

/// Tells beforehand whether this host has the controllers for these limits.
///
/// # Errors
/// A limit that was asked for cannot be kept.
pub fn check_limits(limits: &Limits) -> Result<()> {
    let mounted = mounted()?;
    let missing = settings(limits)
        .into_iter()
        .find(|setting| !setting.is_optional && setting.place(&mounted).is_none());
    missing.map_or(Ok(()), |setting| Err(setting.no_controller()))
}

/// The most that [`default_limits`] gives: what systemd gives its own containers (`TasksMax=16384` in systemd-nspawn@.service).
const MOST_PIDS: u64 = 16384;

/// The limits of a machine for which none were asked: as many processes as systemd allows a service, 15 % of what the kernel can
/// have (systemd-system.conf(5), "DefaultTasksMax="), and at most 16384. So a machine that forks without end leaves the host
/// process numbers and memory for their kernel parts. `None` where nothing counts processes.
pub fn default_limits() -> Limits {
    let number = |file: &str| {
        std::fs::read_to_string(file)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let host = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"]
        .into_iter()
        .filter_map(number)
        .min();
    let limits = Limits {
        pids: Some(host.map_or(MOST_PIDS, |host| (host * 15 / 100).clamp(1, MOST_PIDS))),
        ..Limits::default()
    };
    match check_limits(&limits) {
        Ok(()) => Limits {
            pids_is_default: true,
            ..limits
        },
        Err(_) => Limits::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const ALL: Limits = Limits {
        memory_bytes: Some(64 << 20),
        cpus_milli: Some(1500),
        pids: Some(100),
        pids_is_default: false,
        io_weight: Some(200),
    };

    /// A directory that looks like a hierarchy with a machine's cgroup `m` in it.
    fn hierarchy(dir: &TempDir, name: &str, options: Option<&str>, files: &[&str]) -> Hierarchy {
        let root = dir.path().join(name);
        fs::create_dir_all(root.join("m")).unwrap();
        for file in files {
            fs::write(root.join("m").join(file), "").unwrap();
        }
        Hierarchy::at(root, options.is_none(), options.unwrap_or("rw"))
    }

    fn read(hierarchy: &Hierarchy, file: &str) -> String {
        fs::read_to_string(hierarchy.root.join("m").join(file)).unwrap()
    }

    #[test]
    fn v2_hosts_keep_limits() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            "memory.max",
            "memory.swap.max",
            "cpu.max",
            "pids.max",
            "io.weight",
            "io.bfq.weight",
        ];
        let v2 = hierarchy(&dir, "v2", None, &files);
        fs::write(
            v2.root.join("cgroup.controllers"),
            "cpuset cpu io memory pids\n",
        )
        .unwrap();
        let mounted = [v2];
        let (keepers, warnings) = apply(&ALL, &mounted, "m").unwrap();
        assert_eq!((keepers.len(), warnings.len()), (4, 0));
        let expected = [
            "67108864",
            "0",
            "150000 100000",
            "100",
            "default 200",
            "109",
        ];
        assert_eq!(files.map(|file| read(&mounted[0], file)), expected);
        assert!(
            apply(&Limits::default(), &mounted, "m")
                .unwrap()
                .0
                .is_empty()
        );
    }

    #[test]
    fn v1_and_hybrid_hosts_keep_limits() {
        let dir = tempfile::tempdir().unwrap();
        let memory_files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        let memory = hierarchy(&dir, "memory", Some("rw,memory"), &memory_files);
        let cpu_files = ["cpu.cfs_period_us", "cpu.cfs_quota_us"];
        let cpu = hierarchy(&dir, "cpu", Some("rw,cpu,cpuacct"), &cpu_files);
        let pids = hierarchy(&dir, "pids", Some("rw,pids"), &["pids.max"]);
        let blkio = hierarchy(&dir, "blkio", Some("rw,blkio"), &["blkio.bfq.weight"]);
        let v2 = hierarchy(&dir, "unified", None, &["memory.max", "pids.max"]);
        fs::write(v2.root.join("cgroup.controllers"), "hugetlb\n").unwrap();
        let mounted = [v2, memory, cpu, pids, blkio];
        apply(&ALL, &mounted, "m").unwrap();
        let [v2, memory, cpu, pids, blkio] = &mounted;
        assert_eq!(
            memory_files.map(|file| read(memory, file)),
            ["67108864", "67108864"]
        );
        assert_eq!(cpu_files.map(|file| read(cpu, file)), ["100000", "150000"]);
        assert_eq!(read(pids, "pids.max"), "100");
        assert_eq!(read(blkio, "blkio.bfq.weight"), "109");
        assert!(!blkio.root.join("m/blkio.weight").exists());
        assert_eq!(read(v2, "memory.max"), "");
    }

    #[test]
    fn what_cannot_be_kept_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        // Its root has the controllers, but did not hand them down.
        let v2 = hierarchy(&dir, "v2", None, &[]);
        fs::write(v2.root.join("cgroup.controllers"), "memory pids io\n").unwrap();
        let mounted = [v2];
        let why = |limits: Limits| apply(&limits, &mounted, "m").unwrap_err().to_string();
        let none = Limits::default();
        let memory = why(Limits {
            memory_bytes: Some(1 << 30),
            ..none
        });
        assert!(
            memory.starts_with("--memory") && memory.contains("subtree_control"),
            "{memory}"
        );
        let cpus = why(Limits {
            cpus_milli: Some(500),
            ..none
        });
        assert!(cpus.contains("has the cpu controller"), "{cpus}");
        let io = why(Limits {
            io_weight: Some(50),
            ..none
        });
        assert!(io.contains("none of io.weight, io.bfq.weight"), "{io}");
        let pids = Limits {
            pids: Some(9),
            ..none
        };
        assert!(why(pids).starts_with("--pids"));
        let (keepers, warnings) = apply(
            &Limits {
                pids_is_default: true,
                ..pids
            },
            &mounted,
            "m",
        )
        .unwrap();
        assert!(keepers.is_empty() && warnings.len() == 1, "{warnings:?}");
    }

    #[test]
    fn weights_are_converted() {
        assert_eq!(
            [1, 100, 101, 5050, 10000].map(bfq_weight),
            [1, 100, 100, 550, 1000]
        );
        assert_eq!(
            [1, 2, 100, 200, 10000].map(blkio_weight),
            [10, 10, 500, 1000, 1000]
        );
    }
}
