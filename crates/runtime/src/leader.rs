//! PID 1 of a running machine, held so that its number cannot come to mean another process.
//!
//! What is held is its `/proc/PID`: a descriptor of that stays with the process, pidfd_send_signal(2) takes it in place of
//! a pidfd, and its namespaces are opened through it. So neither pidfd_open (Linux 5.3) nor setns(2) with a pidfd (5.8)
//! is needed.

use crate::error::{At, Error, Result};
use crate::registry;
use repot_model::{RuntimeState, Signal};
use repot_sys::Namespaces;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::thread::CapabilitySet;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A machine's first process.
#[derive(Debug)]
pub struct Leader {
    /// Its directory in procfs.
    dir: OwnedFd,
    pid: i32,
    start: u64,
}

/// How often an end is looked for: nothing announces that of a process that is no child.
const INTERVAL: Duration = Duration::from_millis(5);

impl Leader {
    /// Takes hold of a machine's PID 1.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it has ended meanwhile.
    pub fn of(state: &RuntimeState) -> Result<Self> {
        Self::of_process(state.leader_pid, state.leader_start)
            .ok_or_else(|| Error::NotRunning(state.spec.name.clone()))
    }

    /// Takes hold of a process with that start time. `None`: there is none.
    pub(crate) fn of_process(pid: i32, start: u64) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok()?;
        let leader = Self { dir, pid, start };
        // The number may have been given to another process between the state's writing and here.
        (!leader.has_ended()).then_some(leader)
    }

    /// Whether it is over; waiting to be reaped counts.
    pub(crate) fn has_ended(&self) -> bool {
        let read = || -> std::io::Result<String> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let mut text = String::new();
            std::fs::File::from(rustix::fs::openat(&self.dir, "stat", flags, Mode::empty())?)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        let found = read().ok().and_then(|stat| registry::start_time_in(&stat));
        found != Some(self.start)
    }

    /// Waits until it is over. `false`: not in time.
    pub(crate) fn wait_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(INTERVAL);
        }
        true
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        let number = i32::from(signal.number());
        Ok(repot_sys::send_signal(&self.dir, self.pid, number)?)
    }

    /// Its namespaces that are not this process' own, in the order of [`Self::namespaces`].
    ///
    /// # Errors
    /// As [`Self::namespaces`].
    pub(crate) fn foreign_namespaces(&self) -> Result<Vec<OwnedFd>> {
        let mut foreign = Namespaces::NONE;
        for (kind, name) in NAMESPACES {
            let own = rustix::fs::stat(format!("/proc/self/{name}"));
            let its = rustix::fs::statat(&self.dir, *name, AtFlags::empty());
            if let (Ok(own), Ok(its)) = (own, its)
                && (own.st_dev, own.st_ino) != (its.st_dev, its.st_ino)
            {
                foreign = foreign | *kind;
            }
        }
        self.namespaces(foreign)
    }

    /// The capabilities that it and its children can ever have (`CapBnd` of proc_pid_status(5)).
    pub(crate) fn capability_bound(&self) -> Option<CapabilitySet> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut text = String::new();
        let status = rustix::fs::openat(&self.dir, "status", flags, Mode::empty()).ok()?;
        std::fs::File::from(status).read_to_string(&mut text).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        Some(CapabilitySet::from_bits_truncate(mask))
    }

    /// Its namespaces of these kinds, to be entered in this order: a user namespace comes first, since it gives the right
    /// to the others.
    ///
    /// # Errors
    /// It has ended, or may not be looked into (ptrace(2), "Ptrace access mode checking").
    pub(crate) fn namespaces(&self, kinds: Namespaces) -> Result<Vec<OwnedFd>> {
        NAMESPACES
            .iter()
            .filter(|(kind, _)| kinds.contains(*kind))
            .map(|(_, name)| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&self.dir, *name, flags, Mode::empty())
                    .at("opening", format!("/proc/{}/{name}", self.pid))
            })
            .collect()
    }
}

/// proc_pid_ns(5).
const NAMESPACES: &[(Namespaces, &str)] = &[
    (Namespaces::USER, "ns/user"),
    (Namespaces::CGROUP, "ns/cgroup"),
    (Namespaces::IPC, "ns/ipc"),
    (Namespaces::UTS, "ns/uts"),
    (Namespaces::NET, "ns/net"),
    (Namespaces::PID, "ns/pid"),
    (Namespaces::MOUNT, "ns/mnt"),
];
