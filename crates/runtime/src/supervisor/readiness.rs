//! When is a machine ready, and does anybody answer on its console? Pure: events and times in, decisions out.

use super::prompt::{Prompt, PromptWatch};
use repot_model::{Ready, ReadySign};
use std::time::{Duration, Instant};

/// Silence after which a `login:` at the end of a line is believed to be a prompt.
const LOGIN_QUIET: Duration = Duration::from_millis(150);
/// The same for prompts that might be a line of output.
const OTHER_QUIET: Duration = Duration::from_millis(1500);
/// How long a prompt waits for the better sign, `READY=1`.
const PATIENCE: Duration = Duration::from_secs(6);
/// Silence after which a console that nobody is known to serve gets a login of ours.
const UNSERVED_QUIET: Duration = Duration::from_secs(2);
/// The same where the tree promises a getty: it may just be slow.
const PROMISED_QUIET: Duration = Duration::from_secs(15);

/// Silence after which nobody looks any more whether the console is still served.
const LAST_QUIET: Duration = Duration::from_secs(600);

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing; look again at this time, if any.
    Wait(Option<Instant>),
    /// The machine has become ready.
    Ready(Ready),
    /// Nobody serves the console: start a login there. Look again afterwards.
    OfferLogin,
}

/// What was seen of one boot.
#[derive(Debug)]
pub(crate) struct Readiness {
    sign: ReadySign,
    /// Whether a getty of ours may be started, and after how much silence.
    offer_after: Option<Duration>,
    watch: PromptWatch,
    started: Instant,
    last_output: Instant,
    prompt_since: Option<Instant>,
    is_ready: bool,
    notified: bool,
}

impl Readiness {
    /// A boot begins.
    pub(crate) fn new(
        sign: ReadySign,
        serves_login: bool,
        console_promised: bool,
        now: Instant,
    ) -> Self {
        let quiet = if console_promised {
            PROMISED_QUIET
        } else {
            UNSERVED_QUIET
        };
        Self {
            sign,
            offer_after: serves_login.then_some(quiet),
            watch: PromptWatch::default(),
            started: now,
            last_output: now,
            prompt_since: None,
            is_ready: false,
            notified: false,
        }
    }

    /// Whether [`Decision::Ready`] was given.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The console showed something.
    pub(crate) fn output(&mut self, bytes: &[u8], now: Instant) {
        self.watch.feed(bytes);
        self.last_output = now;
    }

    /// PID 1 sent `READY=1`.
    pub(crate) fn notify(&mut self) {
        self.notified = true;
    }

    /// Decides. `is_served`: some process has the console as its controlling terminal.
    pub(crate) fn decide(&mut self, now: Instant, is_served: impl FnOnce() -> bool) -> Decision {
        if self.notified && !self.is_ready {
            return self.ready("the init sent READY=1".into(), now);
        }
        let covered = || {
            self.watch
                .covered()
                .map(|text| Prompt::Other(text.to_owned()))
        };
        let prompt = self.watch.prompt().or_else(covered);
        self.prompt_since = prompt.as_ref().map(|_| self.prompt_since.unwrap_or(now));
        let mut next = None;
        if let (Some(prompt), Some(since), false) = (prompt, self.prompt_since, self.is_ready) {
            let (quiet, text) = match prompt {
                Prompt::Login(text) => (LOGIN_QUIET, text),
                Prompt::Other(text) => (OTHER_QUIET, text),
            };
            let mut due = self.last_output + quiet;
            if self.sign == ReadySign::Notify {
                due = due.max(since + PATIENCE);
            }
            if now >= due {
                return self.ready(format!("{text:?} on the console"), now);
            }
            next = Some(due);
        }
        if let (Some(quiet), None) = (self.offer_after, self.prompt_since) {
            let mut due = self.last_output + quiet;
            if now >= due {
                if !is_served() {
                    self.offer_after = None;
                    return Decision::OfferLogin;
                }
                // A script of the boot may have the console now, and nobody later.
                let longer = quiet * 2;
                due = self.last_output + longer;
                self.offer_after = (longer <= LAST_QUIET).then_some(longer);
            }
            if self.offer_after.is_some() {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        Decision::Wait(next)
    }

    fn ready(&mut self, how: String, now: Instant) -> Decision {
        self.is_ready = true;
        let after_ms =
            u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        Decision::Ready(Ready { how, after_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_prompt_counts_after_a_moment_of_silence() {
        let start = Instant::now();
        let mut readiness = Readiness::new(ReadySign::Prompt, true, true, start);
        readiness.output(b"vm login: ", start);
        assert!(matches!(
            readiness.decide(start, || true),
            Decision::Wait(Some(_))
        ));
        assert!(matches!(
            readiness.decide(start + SECOND, || true),
            Decision::Ready(Ready { after_ms: 1000, .. })
        ));
        assert_eq!(
            readiness.decide(start + SECOND, || true),
            Decision::Wait(None)
        );
    }

    #[test]
    fn notification_is_better_than_a_prompt() {
        let start = Instant::now();
        let mut readiness = Readiness::new(ReadySign::Notify, true, true, start);
        readiness.output(b"vm login: ", start);
        assert!(matches!(
            readiness.decide(start + SECOND, || true),
            Decision::Wait(Some(_))
        ));
        readiness.notify();
        assert!(
            matches!(readiness.decide(start + 2 * SECOND, || true), Decision::Ready(Ready { how, .. }) if how.contains("READY=1"))
        );
    }

    #[test]
    fn a_console_that_was_served_is_looked_at_again() {
        let start = Instant::now();
        let mut readiness = Readiness::new(ReadySign::Prompt, true, false, start);
        let mut now = start;
        let mut looks = 0;
        while let Decision::Wait(Some(next)) = readiness.decide(now, || true) {
            now = next;
            looks += 1;
        }
        assert_eq!(looks, 9, "2 s, 4 s, to 512 s");
        let mut readiness = Readiness::new(ReadySign::Prompt, true, false, start);
        assert!(matches!(
            readiness.decide(start + 2 * SECOND, || true),
            Decision::Wait(Some(_))
        ));
        assert_eq!(
            readiness.decide(start + 4 * SECOND, || false),
            Decision::OfferLogin
        );
    }

    #[test]
    fn a_silent_console_is_served() {
        let start = Instant::now();
        let mut readiness = Readiness::new(ReadySign::Prompt, true, false, start);
        readiness.output(b"booted\r\n", start);
        assert!(matches!(
            readiness.decide(start + SECOND, || false),
            Decision::Wait(Some(_))
        ));
        assert_eq!(
            readiness.decide(start + 3 * SECOND, || false),
            Decision::OfferLogin
        );
        readiness.output(b"vm login: ", start + 3 * SECOND);
        assert!(matches!(
            readiness.decide(start + 4 * SECOND, || true),
            Decision::Ready(_)
        ));
    }
}
