//! Limits as the user writes them, kept in a machine's record, and checked against the host.

use anyhow::Context;
use clap::Args;
use repot_model::{Bytes, Cpus, HintExt, Limits, MachineRecord};
use repot_runtime::{check_limits, default_limits};
use std::str::FromStr;

/// How much of the host the machine may use. Kept with the machine; "unlimited" lifts a limit
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Memory and swap at most: bytes, with K, M, G or T, or a percentage of the host's memory
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<Bound<u64>>,
    /// Processor time at most, in processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = cpus)]
    pub(crate) cpus: Option<Bound<u32>>,
    /// Processes and threads at most; by default 15 % of what the host can have, and no more than 16384
    #[arg(long, value_name = "NUMBER", value_parser = pids)]
    pub(crate) pids: Option<Bound<u64>>,
    /// Share of the disks when others want them too, from 1 to 10000; everybody else has 100
    #[arg(long, value_name = "WEIGHT", value_parser = io_weight)]
    pub(crate) io_weight: Option<Bound<u16>>,
}

/// What was given for a limit: a number, or `None` for `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound<T>(Option<T>);

/// The least memory that a machine may have: Docker's bound (moby, `linuxMinMemory`), below which nothing starts.
const LEAST_MEMORY: u64 = 6 << 20;

/// The least processor time, in thousandths: the kernel's shortest quota is 1 ms in the period of 100 ms.
const LEAST_CPUS: u32 = 10;

fn bound<T: PartialOrd>(
    text: &str,
    range: std::ops::RangeInclusive<T>,
    describe: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Bound<T>, String> {
    if text == "unlimited" {
        return Ok(Bound(None));
    }
    match read(text)? {
        value if range.contains(&value) => Ok(Bound(Some(value))),
        _ => Err(format!("it must be {describe}")),
    }
}

/// `--memory`
fn memory(text: &str) -> Result<Bound<u64>, String> {
    bound(text, LEAST_MEMORY..=u64::MAX >> 1, "6M or more", |text| {
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(|Bytes(bytes)| bytes);
        };
        // A decimal number in thousandths, whatever it counts.
        let Cpus(milli_percent) = percent.parse()?;
        let host = rustix::system::sysinfo();
        let host_bytes = u128::from(host.totalram) * u128::from(host.mem_unit);
        u64::try_from(host_bytes * u128::from(milli_percent) / 100_000)
            .map_err(|_| "too many percent".into())
    })
}

/// `--cpus`
fn cpus(text: &str) -> Result<Bound<u32>, String> {
    bound(text, LEAST_CPUS..=1_000_000, "0.01 to 1000", |text| {
        text.parse().map(|Cpus(milli)| milli)
    })
}

/// `--pids`
fn pids(text: &str) -> Result<Bound<u64>, String> {
    // The kernel's PID_MAX_LIMIT (include/linux/threads.h): more processes there never are.
    bound(text, 1..=4 << 20, "1 to 4194304", number)
}

/// `--io-weight`
fn io_weight(text: &str) -> Result<Bound<u16>, String> {
    bound(text, 1..=10000, "1 to 10000", number)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "not a number in range".into())
}

impl LimitArgs {
    /// Notes what was given in a machine's record, over what was noted before. Returns whether anything was.
    pub(crate) fn apply(&self, record: &mut MachineRecord) -> bool {
        let Self {
            memory,
            cpus,
            pids,
            io_weight,
        } = self;
        let mut limits = record.limits.unwrap_or(Limits {
            pids_is_default: true,
            ..Limits::default()
        });
        if let Some(Bound(memory)) = memory {
            limits.memory_bytes = *memory;
        }
        if let Some(Bound(cpus)) = cpus {
            limits.cpus_milli = *cpus;
        }
        if let Some(Bound(pids)) = pids {
            limits.pids = *pids;
            limits.pids_is_default = false;
        }
        if let Some(Bound(io_weight)) = io_weight {
            limits.io_weight = *io_weight;
        }
        let is_any = memory.is_some() || cpus.is_some() || pids.is_some() || io_weight.is_some();
        if is_any {
            record.limits = Some(limits);
        }
        is_any
    }
}

/// The limits that a machine is started with: those of its record, and the host's default.
///
/// # Errors
/// This host cannot keep them.
pub(crate) fn of(record: &MachineRecord) -> anyhow::Result<Limits> {
    let limits = match record.limits {
        Some(limits) if !limits.pids_is_default => limits,
        noted => {
            let Limits {
                pids,
                pids_is_default,
                ..
            } = default_limits();
            Limits {
                pids,
                pids_is_default,
                ..noted.unwrap_or_default()
            }
        }
    };
    check_limits(&limits)
        .hint("/proc/cgroups shows which controllers this kernel has, and whether they are enabled (kernel command line: cgroup_enable=, cgroup_disable=); the value unlimited starts the machine without the limit")
        .with_context(|| format!("limiting {}", record.name))?;
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::Policy;

    #[test]
    fn limits_are_read() {
        assert_eq!(memory("64M"), Ok(Bound(Some(64 << 20))));
        assert_eq!(memory("unlimited"), Ok(Bound(None)));
        assert!(memory("10%").unwrap().0 < memory("20.5%").unwrap().0);
        assert_eq!(cpus("0.5"), Ok(Bound(Some(500))));
        assert_eq!(pids("100"), Ok(Bound(Some(100))));
        assert_eq!(io_weight("10000"), Ok(Bound(Some(10000))));
        for wrong in ["1M", "0", "-64M", "x%", "999999999%%"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
        assert!(cpus("0").is_err() && cpus("0.001").is_err() && pids("0").is_err());
        assert!(io_weight("0").is_err() && io_weight("10001").is_err());
    }

    #[test]
    fn what_is_not_given_anew_stays() {
        let mut record = MachineRecord {
            version: 1,
            name: "m".parse().unwrap(),
            source: String::new(),
            base: "/".into(),
            uuid: String::new(),
            created_s: 0,
            limits: None,
            policy: Policy::default(),
            hand_over: None,
        };
        let none = || LimitArgs {
            memory: None,
            cpus: None,
            pids: None,
            io_weight: None,
        };
        assert!(!none().apply(&mut record) && record.limits.is_none());
        let memory = Some(Bound(Some(64 << 20)));
        assert!(LimitArgs { memory, ..none() }.apply(&mut record));
        assert!(record.limits.unwrap().pids_is_default);
        let pids = Some(Bound(None));
        LimitArgs { pids, ..none() }.apply(&mut record);
        let limits = record.limits.unwrap();
        assert_eq!(
            (limits.memory_bytes, limits.pids, limits.pids_is_default),
            (Some(64 << 20), None, false)
        );
    }
}
