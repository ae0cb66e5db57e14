//! What a machine uses, as its cgroups count it.

use super::hierarchies::mounted;
use repot_model::CgroupPlan;
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
}

/// Reads what the machine with that cgroup uses: v2 files first, then those of the v1 controllers (cgroup-v2.rst;
/// cgroup-v1/memory.rst, pids.rst, cpuacct.rst).
pub fn usage(plan: &CgroupPlan) -> Usage {
    let mounted = mounted().unwrap_or_default();
    let text = |file: &str| {
        mounted.iter().find_map(|hierarchy| {
            std::fs::read_to_string(hierarchy.root.join(&plan.path).join(file)).ok()
        })
    };
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    // cpu.stat has this line only where the v2 cpu controller or basic accounting counts; v1 has nanoseconds.
    let v2_cpu = || {
        mounted
            .iter()
            .filter(|hierarchy| hierarchy.is_v2)
            .find_map(|hierarchy| {
                let stat =
                    std::fs::read_to_string(hierarchy.root.join(&plan.path).join("cpu.stat"))
                        .ok()?;
                stat.lines()
                    .find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok())
            })
    };
    Usage {
        memory_bytes: number("memory.current").or_else(|| number("memory.usage_in_bytes")),
        processes: number("pids.current"),
        cpu_us: number("cpuacct.usage").map(|ns| ns / 1000).or_else(v2_cpu),
    }
}
