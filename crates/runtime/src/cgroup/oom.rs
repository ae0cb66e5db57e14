//! What the kernel tells of processes that it killed for want of memory, on v2 and on v1.

use super::MachineCgroups;
use repot_model::{Bytes, Limits};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A descriptor that becomes ready when a machine runs out of memory, and the count of those killed. Costs nothing while
/// nothing happens.
#[derive(Debug)]
pub(crate) struct OomEvents {
    /// `memory.events` or `memory.oom_control`: both have a line `oom_kill N`.
    counter: File,
    /// v1: told by the kernel (cgroup-v1/memory.rst, section 9). v2 makes the counter itself ready.
    told: Option<OwnedFd>,
}

impl OomEvents {
    /// `None`: nothing counts the machine's memory, or it does not tell.
    pub(crate) fn of(cgroups: &MachineCgroups) -> Option<Self> {
        cgroups.places.iter().find_map(|place| {
            if place.is_v2 {
                let counter = File::open(place.dir.join("memory.events")).ok()?;
                return Some(Self {
                    counter,
                    told: None,
                });
            }
            let counter = File::open(place.dir.join("memory.oom_control")).ok()?;
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let told = rustix::event::eventfd(0, flags).ok()?;
            let wish = format!("{} {}", told.as_raw_fd(), counter.as_raw_fd());
            std::fs::write(place.dir.join("cgroup.event_control"), wish).ok()?;
            Some(Self {
                counter,
                told: Some(told),
            })
        })
    }

    /// For poll(2). cgroup-v2.rst: an event "generates a file modified event", which is POLLPRI until the file is read anew.
    pub(crate) fn poll(&self) -> PollFd<'_> {
        match &self.told {
            Some(told) => PollFd::from_borrowed_fd(told.as_fd(), PollFlags::IN),
            None => PollFd::from_borrowed_fd(self.counter.as_fd(), PollFlags::PRI),
        }
    }

    /// Whether the kernel tells before it has killed anything, so that the count may lag behind.
    pub(crate) fn tells_before(&self) -> bool {
        self.told.is_some()
    }

    /// Processes killed so far; what made the descriptor ready is taken note of. `None`: the cgroup is gone.
    pub(crate) fn kills(&self) -> Option<u64> {
        if let Some(told) = &self.told {
            let _ = rustix::io::read(told, &mut [0u8; 8]);
        }
        let mut text = [0u8; 1024];
        let length = self.counter.read_at(&mut text, 0).ok()?;
        count(&String::from_utf8_lossy(&text[..length]))
    }
}

fn count(events: &str) -> Option<u64> {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

impl MachineCgroups {
    /// Processes killed so far for want of memory, as far as that is counted.
    pub(crate) fn oom_kills(&self) -> u64 {
        let texts = self.places.iter().filter_map(|place| {
            let name = match place.is_v2 {
                true => "memory.events",
                false => "memory.oom_control",
            };
            std::fs::read_to_string(place.dir.join(name)).ok()
        });
        texts.filter_map(|text| count(&text)).sum()
    }
}

/// How kills are told to people.
pub fn out_of_memory(kills: u64, limits: &Limits) -> String {
    let noun = if kills == 1 { "process" } else { "processes" };
    let why = match limits.memory_bytes {
        Some(limit) => format!("limit {}", Bytes(limit)),
        None => "the host has none left".to_owned(),
    };
    format!("out of memory: {kills} {noun} killed ({why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_the_limit() {
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            ..Limits::default()
        };
        let told = out_of_memory(1, &limits);
        assert_eq!(told, "out of memory: 1 process killed (limit 64.0 MiB)");
        assert!(out_of_memory(2, &Limits::default()).contains("2 processes killed (the host"));
    }

    #[test]
    fn both_versions_are_read() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!((count(v1), count(v2)), (Some(3), Some(1)));
        // Before Linux 4.13 nothing is counted.
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
