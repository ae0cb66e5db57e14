//! Carries out a round: starts the command, kills the process, looks what is left.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use repot_e2e::console::Console;
use repot_e2e::process;
use repot_e2e::subject::{LIMIT, Subject, Worker};
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal};

use crate::plan::{Plan, TREES, Verb, Victim};

/// What is about to end may take so long to be gone.
const DYING: Duration = Duration::from_secs(20);

/// How a round went that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Struck,
    /// The process had ended already, or was not there yet.
    TooLate,
}

/// What stays the same over all rounds.
#[derive(Debug)]
pub(crate) struct Rounds {
    subject: Subject,
    seed: u64,
    trees: BTreeMap<&'static str, String>,
    /// How long each command takes, as far as that is known.
    usual: BTreeMap<(&'static str, Verb), Duration>,
    bystander: String,
}

/// A started command: `login` needs a terminal.
enum Started {
    Child(Child),
    Console(Box<Console>),
}

impl Rounds {
    pub(crate) fn new(seed: u64) -> Result<Rounds> {
        let subject = Subject::new("soak")?;
        let mut trees = BTreeMap::new();
        for (name, _) in TREES {
            let path = Tree::named(name)?.ensure()?;
            trees.insert(*name, path.to_str().context("reading a path")?.to_owned());
        }
        let bystander = format!("soak{}by", std::process::id());
        let tree = &trees["bookworm-busybox"];
        subject.ok(&["boot", tree.as_str(), "-d", "-n", &bystander])?;
        Ok(Rounds {
            subject,
            seed,
            trees,
            usual: BTreeMap::new(),
            bystander,
        })
    }

    pub(crate) fn plan(&self, number: u64) -> Plan {
        Plan::of(self.seed, number)
    }

    /// One round. An error says what was left or did not work.
    pub(crate) fn round(&mut self, number: u64, plan: &Plan) -> Result<Outcome> {
        let name = format!("soak{}n{number}", std::process::id());
        let tree = self.trees[plan.tree].clone();
        if plan.verb.wants_machine() {
            self.boot(&tree, &name).context("before")?;
        }
        let struck = self.strike(plan, &tree, &name)?;
        self.settle(&name)?;
        self.again(plan, &tree, &name)?;
        Ok(match struck {
            Some(_) => Outcome::Struck,
            None => Outcome::TooLate,
        })
    }

    /// Starts the command, kills, runs the next command.
    fn strike(&mut self, plan: &Plan, tree: &str, name: &str) -> Result<Option<Worker>> {
        let args = plan.verb.args(tree, name);
        let key = (plan.tree, plan.verb);
        let usual = *self.usual.entry(key).or_insert(Duration::from_millis(250));
        let began = Instant::now();
        let mut started = self.start(plan.verb, &args)?;
        // The moment is the matter of this run.
        std::thread::sleep(usual.mul_f64(plan.moment));
        let took = started.has_ended()?.then(|| began.elapsed());
        let victim = self.victim(plan, name, started.pid())?;
        if let Some(victim) = &victim {
            let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw);
            let _ = rustix::process::kill_process(pid.context("a PID")?, Signal::KILL);
        }
        let usual = match took {
            Some(took) => took,
            None => usual.mul_f64(1.1).min(Duration::from_secs(8)),
        };
        self.usual.insert(key, usual);
        let next = if plan.repeats && plan.verb != Verb::Login {
            args
        } else {
            vec!["list".to_owned()]
        };
        let done = self.subject.run(&next).context("the next command")?;
        ensure!(
            matches!(done.code, 0 | 1 | 3 | 125..=129 | 137 | 143),
            "the next command, {next:?}: {done}"
        );
        started
            .end()
            .with_context(|| format!("the command, {victim:?} of it killed"))?;
        Ok(victim)
    }

    fn start(&self, verb: Verb, args: &[String]) -> Result<Started> {
        let mut command = self.subject.command(args);
        if verb == Verb::Login {
            return Ok(Started::Console(Box::new(Console::spawn(&command)?)));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Started::Child(command.spawn()?))
    }

    fn victim(&self, plan: &Plan, name: &str, starter: u32) -> Result<Option<Worker>> {
        let mut workers = self.subject.workers(name, Some(starter))?;
        match plan.victim {
            // Its copy that becomes PID 1 comes later, so has usually a higher number.
            Victim::Supervisor => workers.retain(|worker| worker.is_supervisor),
            Victim::Command => workers.retain(|worker| worker.pid == starter),
            Victim::Any => {}
        }
        let at = match plan.victim {
            Victim::Supervisor => 0,
            Victim::Command | Victim::Any => plan.which % workers.len().max(1),
        };
        Ok((at < workers.len()).then(|| workers.swap_remove(at)))
    }

    /// After the next command, the machine either runs and answers or is gone without a trace.
    fn settle(&self, name: &str) -> Result<()> {
        let mut row = None;
        process::until("the supervisor has said or ended", DYING, || {
            // Before the command that is to clean up: a process that is dying still has its locks, also when it has given up its
            // memory and so is no worker to be seen any more.
            let is_held =
                self.subject.is_held(name)? || !self.subject.workers(name, None)?.is_empty();
            row = self.subject.list()?.remove(name);
            let is_up = row.as_ref().is_some_and(|row| row["state"] != "stopped");
            Ok(is_up || !is_held)
        })
        .with_context(|| format!("{:?}", self.subject.workers(name, None)))?;
        if row.is_none_or(|row| row["state"] == "stopped") {
            self.nothing_left(name).context("after the next command")?;
        }
        let said = self
            .subject
            .ok(&["exec", &self.bystander, "/bin/echo", "still here"])
            .context("the other machine")?;
        ensure!(said == "still here\n", "the other machine said {said:?}");
        let status = self.subject.ok(&["status", &self.bystander, "--json"])?;
        ensure!(
            status.contains("\"boots\": 1,"),
            "the other machine has restarted: {status}"
        );
        let known = |entry: &str| entry == self.bystander || entry == name;
        let strangers = self.subject.strangers(known);
        let own = format!("soak{}n", std::process::id());
        // What an earlier round left was told then.
        let strangers: Vec<_> = strangers
            .into_iter()
            .filter(|path| !path.contains(&own))
            .collect();
        ensure!(strangers.is_empty(), "machines unknown: {strangers:?}");
        Ok(())
    }

    fn nothing_left(&self, name: &str) -> Result<()> {
        let mut left = Vec::new();
        process::until("nothing is left", DYING, || {
            left = self.subject.leftovers(name)?;
            Ok(left.is_empty())
        })
        .with_context(|| format!("left: {left:#?}"))
    }

    /// The same machine can be used again, and removed.
    fn again(&self, plan: &Plan, tree: &str, name: &str) -> Result<()> {
        let runs = |row: &serde_json::Value| row["state"] != "stopped";
        let is_up = self.subject.list()?.get(name).is_some_and(runs);
        if plan.tree == "bookworm-noinit" {
            self.subject
                .ok(&["run", tree, "-n", name, "/bin/true"])
                .context("again")?;
        } else if !is_up {
            self.boot(tree, name).context("again")?;
        }
        self.subject.ok(&["rm", "--force", name])?;
        self.nothing_left(name).context("after rm")?;
        let kept = self.subject.machines().join(name);
        if kept.exists() {
            bail!("{} is there after rm", kept.display());
        }
        Ok(())
    }

    fn boot(&self, tree: &str, name: &str) -> Result<()> {
        self.subject
            .ok(&["boot", tree, "-d", "-n", name])
            .context("booting")?;
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<()> {
        self.subject.ok(&["rm", "--force", &self.bystander])?;
        self.nothing_left(&self.bystander)?;
        for row in self.subject.list()?.keys() {
            self.subject.run(&["rm", "--force", row])?;
        }
        self.subject.remove()
    }
}

impl Started {
    fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.id(),
            Self::Console(console) => console.pid(),
        }
    }

    fn has_ended(&mut self) -> Result<bool> {
        match self {
            Self::Child(child) => Ok(child.try_wait()?.is_some()),
            Self::Console(_) => Ok(false),
        }
    }

    /// Waits for its end; a login is hung up on.
    fn end(&mut self) -> Result<()> {
        match self {
            Self::Child(child) => match child.try_wait()? {
                Some(_) => Ok(()),
                None => process::wait(child, LIMIT).map(drop),
            },
            Self::Console(console) => console.kill().map(drop),
        }
    }
}
