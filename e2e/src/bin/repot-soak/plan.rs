//! What a round does, chosen by the seed.

use std::fmt;

/// Trees with how often each is taken: all inits, the quick ones more often.
pub(crate) const TREES: &[(&str, u32)] = &[
    ("bookworm-busybox", 30),
    ("busybox-alpine", 20),
    ("busybox-noinittab", 10),
    ("bookworm-runit", 8),
    ("bookworm-s6", 8),
    ("bookworm-finit", 8),
    ("bookworm-sysvinit", 5),
    ("bookworm-bothgetty", 2),
    ("bookworm-serial", 2),
    ("bookworm-nologin", 4),
    ("bookworm-openrc", 3),
    ("sid-openrc-init", 3),
    ("bookworm-noinit", 6),
    ("bookworm-systemd", 2),
    ("trixie-systemd", 2),
    ("sid-systemd", 1),
    ("bullseye-systemd", 1),
    ("trixie-guix", 1),
];

/// The command in whose course something is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Boot,
    BootEphemeral,
    Run,
    RunThrowAway,
    Exec,
    Login,
    Reboot,
    Stop,
    Kill,
    Remove,
}

const VERBS: &[Verb] = &[
    Verb::Boot,
    Verb::Boot,
    Verb::BootEphemeral,
    Verb::Run,
    Verb::RunThrowAway,
    Verb::Exec,
    Verb::Login,
    Verb::Reboot,
    Verb::Stop,
    Verb::Kill,
    Verb::Remove,
];

impl Verb {
    /// Its arguments.
    pub(crate) fn args(self, tree: &str, name: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Boot => &["boot", tree, "-d", "-n", name],
            Self::BootEphemeral => &["boot", tree, "-d", "-x", "-n", name],
            Self::Run => &["run", tree, "-n", name, "/bin/sleep", "0.2"],
            Self::RunThrowAway => &["run", tree, "/bin/sleep", "0.2"],
            Self::Exec => &["exec", name, "/bin/sleep", "0.2"],
            Self::Login => &["login", name],
            Self::Reboot => &["reboot", name],
            Self::Stop => &["stop", name],
            Self::Kill => &["kill", name],
            Self::Remove => &["rm", "--force", name],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Whether it needs a machine that runs.
    pub(crate) fn wants_machine(self) -> bool {
        !matches!(
            self,
            Self::Boot | Self::BootEphemeral | Self::Run | Self::RunThrowAway
        )
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Boot => "boot",
            Self::BootEphemeral => "boot --ephemeral",
            Self::Run => "run --name",
            Self::RunThrowAway => "run",
            Self::Exec => "exec",
            Self::Login => "login",
            Self::Reboot => "reboot",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Remove => "rm --force",
        })
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    /// The machine's supervisor.
    Supervisor,
    /// The command that was started.
    Command,
    /// Any process of repot that works for the machine: also stubs, the processes between, logins on the console.
    Any,
}

impl fmt::Display for Victim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Supervisor => "supervisor",
            Self::Command => "starting command",
            Self::Any => "any process of repot",
        })
    }
}

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) tree: &'static str,
    pub(crate) verb: Verb,
    pub(crate) victim: Victim,
    /// The moment, as a share of the time that the command usually takes.
    pub(crate) moment: f64,
    /// Which of several processes it is, modulo their number.
    pub(crate) which: usize,
    /// Whether the next command is the same again; else it is `list`.
    pub(crate) repeats: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64, number: u64) -> Plan {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003) ^ number);
        let mut ticket = random.u32(..TREES.iter().map(|(_, weight)| *weight).sum::<u32>());
        let tree = TREES.iter().find(|(_, weight)| {
            let is_it = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            is_it
        });
        let tree = tree.map_or(TREES[0].0, |(tree, _)| tree);
        let verb = match tree {
            // There is nothing to boot in it.
            "bookworm-noinit" => Verb::Run,
            _ => VERBS[random.usize(..VERBS.len())],
        };
        let victim = match random.u32(..10) {
            0..4 => Victim::Supervisor,
            4..7 => Victim::Command,
            _ => Victim::Any,
        };
        // Most happens in the first moments of a start.
        let moment = if random.u32(..10) < 4 {
            random.f64() * 0.15
        } else {
            random.f64()
        };
        Plan {
            tree,
            verb,
            victim,
            moment,
            which: random.usize(..1000),
            repeats: random.bool(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}, {}, kills {} after {:.0} % of it, then {}",
            self.tree,
            self.verb,
            self.victim,
            self.moment * 100.0,
            if self.repeats { "the same" } else { "list" }
        )
    }
}
