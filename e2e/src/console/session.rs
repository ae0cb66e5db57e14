//! What a person does on a console: log in, type a command, read what it printed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::Console;

/// What a command that was typed into a shell printed, and its exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub output: String,
    pub status: i32,
}

impl Console {
    /// Waits for `NAME login:`, types the user and the password, and waits for a shell's
    /// prompt. Each of the three waits may take as long as `within`.
    ///
    /// # Errors
    /// No prompt shows up, or the login is refused.
    pub fn login(&mut self, user: &str, password: &str, within: Duration) -> Result<()> {
        // The host's name stands before it, and nothing but a space follows; boot messages
        // may come right behind, so the end of the line is no criterion.
        self.expect(Regex::new(r"\S+ login: ?")?, within)
            .context("waiting for a login prompt")?;
        // An answer of ours to a question of a program before may arrive only now: ^U takes back what is typed already.
        self.send_line(&format!("\x15{user}"))?;
        self.expect(Regex::new("[Pp]assword: ?")?, within)
            .context("waiting to be asked for the password")?;
        self.send_line(password)?;
        // An init that goes on writing may do so right behind the prompt: bash's own is known anywhere in a line.
        let answer =
            Regex::new(r"(?m)(Login incorrect|Permission denied|[#$] ?$|\w+@\S+ \S+[#$] )")?;
        let answer = self.expect(answer, within).context("waiting for a shell")?;
        let [seen, ..] = answer.groups.as_slice() else {
            bail!("the pattern has no match")
        };
        if !seen.trim_end().ends_with(['#', '$']) {
            return Err(self.report(&format!("{user} cannot log in: {seen}")));
        }
        Ok(())
    }

    /// Types a command into the shell and returns what it printed; its status must be 0.
    ///
    /// # Errors
    /// The command failed, or did not end within that time.
    pub fn run(&mut self, command: &str, within: Duration) -> Result<String> {
        let ran = self.run_status(command, within)?;
        if ran.status != 0 {
            return Err(self.report(&format!("{command:?} ended with status {}", ran.status)));
        }
        Ok(ran.output)
    }

    /// Types a command into the shell and returns what it printed, and its status.
    ///
    /// # Errors
    /// The command did not end within that time.
    pub fn run_status(&mut self, command: &str, within: Duration) -> Result<Ran> {
        self.commands_run += 1;
        let number = self.commands_run;
        // The quotes keep the markers from being found in the echo of what we type.
        self.send_line(&format!(
            "echo 'be''gin-{number}'; {command}; echo 'en''d-{number}' \"$?\""
        ))?;
        self.expect(Regex::new(&format!(r"begin-{number}\n"))?, within)
            .with_context(|| format!("starting {command:?}"))?;
        let found = self
            .expect(Regex::new(&format!(r"end-{number} (\d+)\n"))?, within)
            .with_context(|| format!("waiting for {command:?} to end"))?;
        let status = found
            .groups
            .get(1)
            .context("reading the status")?
            .parse()
            .context("reading the status")?;
        Ok(Ran {
            output: found.before,
            status,
        })
    }
}
