//! Tells when a machine has run out of memory: in its console log, to those who look at it, and in its state.

use super::Supervisor;
use crate::cgroup::{MachineCgroups, OomEvents, out_of_memory};
use crate::protocol::Event;
use rustix::event::{PollFd, PollFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the kernel is given after it has told, so that many kills are one report, and a machine that thrashes at its limit
/// does not keep its supervisor busy.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the count is looked at again, each time after twice as long, where the kernel tells before it kills.
const LOOKS: u32 = 6;

/// Waits for one boot's kills.
#[derive(Debug)]
pub(super) struct OomWatch {
    events: Option<OomEvents>,
    reported: u64,
    /// The time to look at the count, and how often it was looked at in vain.
    due: Option<(Instant, u32)>,
}

impl OomWatch {
    /// For the cgroups of a boot.
    pub(super) fn new(cgroups: &MachineCgroups) -> Self {
        Self {
            events: OomEvents::of(cgroups),
            reported: 0,
            // At once: only what comes after a reading makes the descriptor ready.
            due: Some((Instant::now(), LOOKS)),
        }
    }

    /// For poll(2); `stand_in` where there is nothing to wait for.
    pub(super) fn poll<'fd>(&'fd self, stand_in: &'fd OwnedFd) -> PollFd<'fd> {
        match (&self.events, self.due) {
            (Some(events), None) => events.poll(),
            _ => PollFd::from_borrowed_fd(stand_in.as_fd(), PollFlags::empty()),
        }
    }

    /// The time to call [`Supervisor::look_for_kills`] again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// Kills since the last call.
    fn take(&mut self) -> u64 {
        let Some(events) = &self.events else { return 0 };
        let Some(kills) = events.kills() else {
            // Whoever removed the cgroup under us: the descriptor would be ready for ever.
            self.events = None;
            self.due = None;
            return 0;
        };
        let new = kills.saturating_sub(self.reported);
        self.reported = kills;
        new
    }
}

impl Supervisor<'_> {
    /// To be called when the watch is ready or due.
    pub(super) fn look_for_kills(&mut self, is_told: bool) {
        let now = Instant::now();
        match self.oom.due {
            None if is_told => self.oom.due = Some((now + PAUSE, 0)),
            Some((at, looks)) if at <= now => {
                let is_in_vain = !self.report_kills();
                let looks_again = self
                    .oom
                    .events
                    .as_ref()
                    .is_some_and(OomEvents::tells_before);
                self.oom.due = (is_in_vain && looks_again && looks < LOOKS)
                    .then(|| (now + PAUSE * 2u32.pow(looks), looks + 1));
            }
            None | Some(_) => {}
        }
    }

    /// Reports what was killed since the last report, if anything was.
    pub(super) fn report_kills(&mut self) -> bool {
        let kills = self.oom.take();
        if kills == 0 {
            return false;
        }
        self.state.oom_kills += kills;
        self.write_state();
        let report = format!("\r\nrepot: {}\r\n", out_of_memory(kills, &self.spec.limits));
        let report = report.into_bytes();
        self.log.append(&report);
        self.broadcast(&Event::Output(report), |client| client.is_attached);
        true
    }
}
