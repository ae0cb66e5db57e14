//! How much of the host a machine may use.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a machine may use at most. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory in bytes: processes, page cache and what is in its file systems in memory; with swap, where swap is counted.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a processor: 1500 is one and a half.
    pub cpus_milli: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Whether nobody asked for `pids`: where that number cannot be kept, the machine starts all the same.
    pub pids_is_default: bool,
    /// Share of the disks while others want them too, 1 to 10000, where 100 is what everybody else has (cgroup-v2.rst,
    /// "io.weight"). No limit in the strict sense.
    pub io_weight: Option<u16>,
}

impl Limits {
    /// Whether there is one beyond the default: the machine must not start where it cannot be kept.
    pub fn are_asked_for(&self) -> bool {
        let pids = self.pids.is_some() && !self.pids_is_default;
        pids || self.memory_bytes.is_some() || self.cpus_milli.is_some() || self.io_weight.is_some()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            self.memory_bytes
                .map(|bytes| format!("{} of memory", Bytes(bytes))),
            self.cpus_milli.map(|milli| format!("{} CPUs", Cpus(milli))),
            self.pids.map(|pids| format!("{pids} processes")),
            self.io_weight.map(|weight| format!("I/O weight {weight}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// A number of bytes as people write it: `64M`, `1.5 GiB` (powers of 1024, as for systemd and docker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut rest = 0;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 {
                return match unit {
                    "B" => f.pad(&format!("{value} B")),
                    _ => f.pad(&format!("{value}.{} {unit}", rest * 10 / 1024)),
                };
            }
            rest = value % 1024;
            value /= 1024;
        }
        f.pad(&format!("{value}.{} TiB", rest * 10 / 1024))
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let power = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            _ => return Err("not a number with K, M, G or T".into()),
        };
        // Three digits after the point are exact enough for everybody who writes one.
        let number = u128::from(thousandths(digits)?) << (10 * power);
        u64::try_from(number / 1000)
            .map(Self)
            .map_err(|_| "more bytes than there are numbers for".into())
    }
}

/// A number of processors in thousandths, as people write it: `1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus(pub u32);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        u32::try_from(thousandths(text)?)
            .map(Self)
            .map_err(|_| "more processors than there are numbers for".into())
    }
}

/// A decimal number, times 1000; what comes after the third digit behind the point is dropped.
fn thousandths(text: &str) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) {
        return Err("not a number".into());
    }
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    let too_large = || "too large".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let part: u64 = part.parse().unwrap_or(0);
    whole
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(part))
        .ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read() {
        let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(read("512"), Ok(512));
        assert_eq!(read("64M"), Ok(64 << 20));
        assert_eq!(read("1.5g"), Ok(3 << 29));
        assert_eq!(read("256MiB"), Ok(256 << 20));
        assert_eq!(read("7kb"), Ok(7 << 10));
        for wrong in [
            "",
            "M",
            "-1",
            "1.2.3",
            "12Q",
            "1e9",
            "9999999999999999T",
            "1 M",
            "²M",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_shown() {
        let shown = [0, 1536, 5 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(shown, ["0 B", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn processors_are_read_and_shown() {
        for (text, milli, shown) in [
            ("2", 2000, "2"),
            ("0.5", 500, "0.5"),
            ("1.2349", 1234, "1.234"),
            ("10.", 10_000, "10"),
        ] {
            let cpus: Cpus = text.parse().unwrap();
            assert_eq!((cpus.0, cpus.to_string().as_str()), (milli, shown));
        }
        assert!(".5".parse::<Cpus>().is_err() && "two".parse::<Cpus>().is_err());
    }

    #[test]
    fn limits_are_said() {
        assert_eq!(Limits::default().to_string(), "none");
        let limits = Limits {
            memory_bytes: Some(256 << 20),
            cpus_milli: Some(1500),
            pids: Some(100),
            io_weight: Some(50),
            ..Limits::default()
        };
        assert_eq!(
            limits.to_string(),
            "256.0 MiB of memory, 1.5 CPUs, 100 processes, I/O weight 50"
        );
    }
}
