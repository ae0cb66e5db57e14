//! What a machine uses, as its cgroups count it, and its writes on disk.

use super::hierarchies::{Hierarchy, mounted};
use repot_model::{BootSpec, Overlay};
use serde::Serialize;

/// What a machine uses, as far as a controller counts it on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Memory in bytes, the page cache of its files included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// CPU time since it was started, in microseconds.
    pub cpu_us: Option<u64>,
    /// Bytes read from disks since it was started.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to disks since it was started.
    pub io_write_bytes: Option<u64>,
    /// Bytes on disk of what it has written, all boots together. `None` where its writes are kept in memory or in the tree, and
    /// from [`usage`], which does not look for them.
    pub disk_bytes: Option<u64>,
}

/// Reads what the machine uses: v2 files first, then those of the v1 controllers (cgroup-v2.rst; cgroup-v1/memory.rst,
/// pids.rst, cpuacct.rst, blkio-controller.rst).
pub fn usage(spec: &BootSpec) -> Usage {
    let Some(path) = &spec.cgroup.path else {
        return Usage::default();
    };
    usage_in(&mounted().unwrap_or_default(), path)
}

/// Bytes on disk of what the machine has written. Goes through all of its files.
pub fn disk_usage(spec: &BootSpec) -> Option<u64> {
    match &spec.root.overlay {
        Overlay::Kept { dir } => crate::disk::bytes_below(&dir.join("upper")),
        Overlay::Ephemeral | Overlay::InPlace => None,
    }
}

fn usage_in(mounted: &[Hierarchy], path: &str) -> Usage {
    let text = |file: &str| {
        mounted.iter().find_map(|hierarchy| {
            std::fs::read_to_string(hierarchy.root.join(path).join(file)).ok()
        })
    };
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    // cpu.stat has this line only where the v2 cpu controller or basic accounting counts; v1 has nanoseconds.
    let v2_cpu = || {
        let v2 = mounted.iter().filter(|hierarchy| hierarchy.is_v2);
        v2.filter_map(|hierarchy| {
            std::fs::read_to_string(hierarchy.root.join(path).join("cpu.stat")).ok()
        })
        .find_map(|stat| {
            stat.lines()
                .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
        })
    };
    let io = text("io.stat")
        .map(|stat| v2_io(&stat))
        .or_else(|| text("blkio.throttle.io_service_bytes_recursive").map(|bytes| v1_io(&bytes)));
    Usage {
        memory_bytes: number("memory.current").or_else(|| number("memory.usage_in_bytes")),
        processes: number("pids.current"),
        cpu_us: number("cpuacct.usage").map(|ns| ns / 1000).or_else(v2_cpu),
        io_read_bytes: io.map(|(read, _)| read),
        io_write_bytes: io.map(|(_, written)| written),
        disk_bytes: None,
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 ...`, a line for each device.
fn v2_io(stat: &str) -> (u64, u64) {
    let sum = |key: &str| {
        stat.split_whitespace()
            .filter_map(|field| field.strip_prefix(key)?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1`, a line for each device and kind.
fn v1_io(bytes: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        bytes
            .lines()
            .filter_map(|line| {
                let (rest, bytes) = line.rsplit_once(' ')?;
                rest.ends_with(kind).then(|| bytes.parse::<u64>().ok())?
            })
            .sum()
    };
    (sum(" Read"), sum(" Write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn disks_are_summed_up() {
        assert_eq!(
            v2_io("8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=1 wbytes=2\n"),
            (11, 22)
        );
        assert_eq!(
            v1_io("8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\n8:16 Write 2\nTotal 33\n"),
            (11, 22)
        );
    }

    #[test]
    fn both_versions_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let hierarchy = |name: &str, is_v2, files: &[(&str, &str)]| {
            let root = dir.path().join(name);
            fs::create_dir_all(root.join("m")).unwrap();
            for (file, content) in files {
                fs::write(root.join("m").join(file), content).unwrap();
            }
            Hierarchy::at(root, is_v2, "")
        };
        let v2 = hierarchy(
            "v2",
            true,
            &[
                ("memory.current", "4096\n"),
                ("pids.current", "3\n"),
                ("cpu.stat", "usage_usec 7\nuser_usec 5\n"),
                ("io.stat", "8:0 rbytes=1 wbytes=2\n"),
            ],
        );
        let on_v2 = Usage {
            memory_bytes: Some(4096),
            processes: Some(3),
            cpu_us: Some(7),
            io_read_bytes: Some(1),
            io_write_bytes: Some(2),
            disk_bytes: None,
        };
        assert_eq!(usage_in(&[v2], "m"), on_v2);
        let v1 = [
            hierarchy("memory", false, &[("memory.usage_in_bytes", "4096\n")]),
            hierarchy("cpuacct", false, &[("cpuacct.usage", "7999\n")]),
            // The v1 cpu controller's, with no time in it.
            hierarchy("cpu", false, &[("cpu.stat", "nr_periods 0\n")]),
        ];
        let on_v1 = Usage {
            memory_bytes: Some(4096),
            cpu_us: Some(7),
            ..Usage::default()
        };
        assert_eq!(usage_in(&v1, "m"), on_v1);
    }
}
