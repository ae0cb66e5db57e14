//! One tree in one engine, from boot to stop, by repot's own verbs and the machine's console.

use super::{Before, Outcome, Row};
use crate::password;
use crate::sources::Tree;
use anyhow::Context;
use repot_model::MachineName;
use repot_runtime::{Dialogue, Dirs, Heard, Interrupts, die_of, registry};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a login may take once the prompt is there: PAM modules wait for services that do not come, up to 25 s each.
const LOGIN: Duration = Duration::from_secs(90);
/// How long the console may take to say something after a key.
const ECHO: Duration = Duration::from_secs(20);

/// What goes on just now, for whoever has to end it.
#[derive(Debug, Default)]
struct Now {
    machine: Option<MachineName>,
    /// The command that is waited for.
    child: Option<i32>,
}

/// Ends the trial that goes on when the user interrupts: else its machine would run on.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Mutex<Now>>);

impl Guard {
    /// From now on, signals that end this command remove the machine first.
    pub(super) fn new() -> anyhow::Result<Self> {
        let interrupts = Interrupts::catch()?;
        let guard = Self(Arc::default());
        let other = guard.clone();
        std::thread::spawn(move || {
            let signal = interrupts.wait();
            // Held until this process has ended, so that nothing more is started.
            let now = other.now();
            if let Some(child) = now.child.and_then(Pid::from_raw) {
                let _ = kill_process(child, Signal::TERM);
            }
            if let Some(machine) = &now.machine {
                let _ = repot(&["rm", "--force", machine.as_str()]).and_then(output);
            }
            die_of(signal);
        });
        Ok(guard)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts repot itself, as a user would.
fn repot(args: &[&str]) -> anyhow::Result<Child> {
    Command::new("/proc/self/exe")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting repot itself")
}

fn output(child: Child) -> anyhow::Result<Output> {
    child
        .wait_with_output()
        .context("waiting for repot's own command")
}

/// A machine made for one trial; whatever happens, it is removed.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    dirs: &'a Dirs,
    tree: &'a Tree,
    engine: String,
    name: MachineName,
    timeout: Duration,
    guard: &'a Guard,
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        let _ = self.repot(&["rm", "--force", self.name.as_str()]);
        self.guard.now().machine = None;
    }
}

impl<'a> Cell<'a> {
    pub(super) fn new(
        dirs: &'a Dirs,
        tree: &'a Tree,
        engine: &str,
        timeout: Duration,
        guard: &'a Guard,
    ) -> anyhow::Result<Self> {
        let name = format!("try-{engine}-{}", std::process::id());
        let name = MachineName::new(&name)?;
        guard.now().machine = Some(name.clone());
        Ok(Self {
            guard,
            dirs,
            tree,
            engine: engine.to_owned(),
            name,
            timeout,
        })
    }

    /// Boots, logs in, stops; notes what came of it.
    pub(super) fn fill(&self, row: &mut Row) -> anyhow::Result<()> {
        let secret = password::random()?;
        let hash = password::sha512_crypt(secret.expose())?;
        let seen = self.boot(&["--root-password-hash", hash.expose()], secret.expose())?;
        row.result = seen.result;
        row.seconds_to_prompt = seen.seconds_to_prompt;
        row.note = seen.note;
        if row.result == Outcome::Failed {
            return Ok(());
        }
        let stopped = self.repot(&["stop", self.name.as_str()])?;
        row.stop_clean = Some(stopped.status.success());
        if !stopped.status.success() && row.note.is_none() {
            row.note = Some(last_words(&stopped));
        }
        Ok(())
    }

    /// The engine's own obvious command on the tree as it is. Root's password is not known then: a prompt is all that can be
    /// reached unless there is none. `None`: the engine has no such command.
    pub(super) fn before(&self) -> anyhow::Result<Option<Before>> {
        let seen = self.boot(&["--unaided"], "")?;
        let command = match registry::running(self.dirs, &self.name) {
            Some(state) => state.spec.hand_over.map(|plan| plan.start.to_string()),
            None => None,
        };
        self.repot(&["rm", "--force", self.name.as_str()])?;
        if seen
            .note
            .as_ref()
            .is_some_and(|note| note.contains("no obvious command"))
        {
            return Ok(None);
        }
        Ok(Some(Before {
            command: command.unwrap_or_default(),
            result: seen.result,
            seconds_to_prompt: seen.seconds_to_prompt,
            note: seen.note,
        }))
    }

    /// Boots with these options besides, and logs in.
    fn boot(&self, options: &[&str], secret: &str) -> anyhow::Result<Seen> {
        let timeout = self.timeout.as_secs().to_string();
        let base = self.tree.base.display().to_string();
        let (name, engine) = (self.name.as_str(), self.engine.as_str());
        let mut words = vec!["boot", &base, "--on", engine, "--name", name, "--ephemeral"];
        words.extend(["--detach", "--timeout", &timeout]);
        words.extend(options);
        let booted = self.repot(&words)?;
        let mut seen = Seen {
            result: Outcome::Failed,
            seconds_to_prompt: None,
            note: Some(last_words(&booted)),
        };
        let Some(state) = registry::running(self.dirs, &self.name) else {
            return Ok(seen);
        };
        if !booted.status.success() {
            seen.result = Outcome::NoPrompt;
            return Ok(seen);
        }
        seen.seconds_to_prompt = state
            .ready
            .and_then(|ready| u32::try_from(ready.after_ms).ok())
            .map(|ms| f64::from(ms) / 1000.0);
        (seen.result, seen.note) = match self.log_in(secret)? {
            LoggedIn::Yes => (Outcome::Login, None),
            LoggedIn::OnlyPrompt(why) => (Outcome::Prompt, Some(why)),
            LoggedIn::NoPrompt(why) => (Outcome::NoPrompt, Some(why)),
        };
        Ok(seen)
    }

    /// Types name and password on the console, and a command whose result nobody can have typed.
    fn log_in(&self, secret: &str) -> anyhow::Result<LoggedIn> {
        let mut console = Dialogue::open(self.dirs, &self.name)?;
        // The prompt was shown before this came to listen: an empty name brings it back.
        let mut prompt = Heard::Nothing;
        for _ in 0..3 {
            console.type_keys("\r")?;
            prompt = console.hear(&["login:", "press enter", "# "], ECHO)?;
            if prompt != Heard::Nothing {
                break;
            }
        }
        let is_shell = match prompt {
            Heard::Text { number: 0, .. } => false,
            Heard::Text { number: 1, .. } => {
                console.type_keys("\r")?;
                true
            }
            Heard::Text { .. } => true,
            Heard::Nothing => {
                return Ok(LoggedIn::NoPrompt(
                    "its console does not answer to the return key".into(),
                ));
            }
            Heard::Gone => return Ok(LoggedIn::NoPrompt("it ended by itself".into())),
        };
        if !is_shell {
            console.type_keys("root\r")?;
            match console.hear(&["assword:", "incorrect", "# "], LOGIN)? {
                Heard::Text { number: 0, .. } => {
                    console.type_keys(&format!("{secret}\r"))?;
                }
                Heard::Text { number: 2, .. } => {}
                Heard::Text { said, .. } => {
                    return Ok(LoggedIn::OnlyPrompt(format!(
                        "root was refused before the password: {}",
                        last_line(&said)
                    )));
                }
                Heard::Nothing | Heard::Gone => {
                    return Ok(LoggedIn::OnlyPrompt(format!(
                        "no answer to root's name: {}",
                        last_line(&console.rest())
                    )));
                }
            }
        }
        // The sum stands in the answer only, not in what is typed and echoed. Typed again, since what comes before the shell
        // reads may be thrown away.
        let deadline = std::time::Instant::now() + LOGIN;
        while std::time::Instant::now() < deadline {
            console.type_keys("echo is-in-$((6*7))\r")?;
            match console.hear(&["is-in-42", "incorrect"], Duration::from_secs(4))? {
                Heard::Text { number: 0, .. } => {
                    console.type_keys("exit\r")?;
                    return Ok(LoggedIn::Yes);
                }
                Heard::Text { said, .. } => {
                    return Ok(LoggedIn::OnlyPrompt(format!(
                        "root was refused: {}",
                        last_line(&said)
                    )));
                }
                Heard::Gone => break,
                Heard::Nothing => {}
            }
        }
        Ok(LoggedIn::OnlyPrompt(format!(
            "no shell after the password: {}",
            last_line(&console.rest())
        )))
    }

    /// Runs repot itself to its end.
    fn repot(&self, args: &[&str]) -> anyhow::Result<Output> {
        let child = {
            let mut now = self.guard.now();
            let child = repot(args)?;
            now.child = i32::try_from(child.id()).ok();
            child
        };
        let output = output(child);
        self.guard.now().child = None;
        output
    }
}

/// What came of a boot.
struct Seen {
    result: Outcome,
    seconds_to_prompt: Option<f64>,
    note: Option<String>,
}

enum LoggedIn {
    Yes,
    OnlyPrompt(String),
    NoPrompt(String),
}

/// What a command said last, without its name.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().filter(|line| line.starts_with("repot: "));
    let line = lines.next_back().or_else(|| text.lines().next_back());
    line.unwrap_or("it said nothing")
        .trim_start_matches("repot: ")
        .to_owned()
}

fn last_line(text: &str) -> String {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("nothing")
        .chars()
        .take(120)
        .collect()
}
