//! The rule book on real distributions: a tree that was broken on purpose does not let root in as it is, and does with what
//! `repot boot` lays over it.
//!
//! A fault is a change of a few small files, so that one copy of a tree serves many of them: the files are put back in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::console::Console;
use repot_e2e::process;
use repot_e2e::trees::{PASSWORD, Tree};
use serde_json::Value;

use crate::sandbox::{LONG, SHORT, Sandbox, utf8};
use crate::session;

/// A copy of a tree that is broken and put right again and again.
pub struct Patient {
    sandbox: Sandbox,
    whole: PathBuf,
    dir: PathBuf,
}

/// One fault.
pub struct Fault {
    /// The rule that is to find it.
    pub rule: &'static str,
    /// The files that it changes: put back afterwards.
    pub files: &'static [&'static str],
    /// Breaks the tree.
    pub spoil: fn(&Path) -> Result<()>,
    /// What its user sees instead of a shell, as a regular expression.
    pub symptom: &'static str,
}

impl Patient {
    pub fn new(tree: Tree) -> Result<Patient> {
        let sandbox = Sandbox::new()?;
        let whole = tree.ensure()?;
        let dir = sandbox.dir().join("tree");
        let mut command = Command::new("cp");
        command.arg("-a").arg(&whole).arg(&dir);
        let done = process::run(&mut command, b"", LONG)?;
        ensure!(done.code == 0, "{done}");
        Ok(Patient {
            sandbox,
            whole,
            dir,
        })
    }

    /// With each fault by itself: the symptom without the rules, a shell with them.
    pub fn suffers(&self, faults: &[Fault]) -> Result<()> {
        for fault in faults {
            (fault.spoil)(&self.dir)?;
            self.shows(fault)
                .with_context(|| format!("the fault for {}", fault.rule))?;
            self.heal(fault.files)?;
        }
        Ok(())
    }

    fn shows(&self, fault: &Fault) -> Result<()> {
        let found = self.findings()?;
        ensure!(
            found.iter().any(|rule| rule == fault.rule),
            "doctor finds {found:?}"
        );
        let (mut console, name) = self.boot(&["--no-fix"])?;
        refused(&mut console, fault.symptom).context("without the rules")?;
        self.end(console, &name)?;
        let (mut console, name) = self.boot(&[])?;
        session::login(&mut console).context("with the rules")?;
        self.end(console, &name)
    }

    /// The rules that find something.
    pub fn findings(&self) -> Result<Vec<String>> {
        let tree = utf8(&self.dir)?;
        let done = self.sandbox.repot(&["doctor", &tree, "--json"])?;
        let document: Value =
            serde_json::from_str(&done.out()).with_context(|| done.to_string())?;
        let engines = document["engines"].as_array().context("reading engines")?;
        let findings = engines
            .iter()
            .filter_map(|engine| engine["findings"].as_array());
        Ok(findings
            .flatten()
            .filter_map(|finding| finding["rule"].as_str().map(str::to_owned))
            .collect())
    }

    /// A machine of the tree on a terminal, which forgets what it writes.
    pub fn boot(&self, options: &[&str]) -> Result<(Console, String)> {
        let name = self.sandbox.name();
        let tree = utf8(&self.dir)?;
        let args = ["boot", &tree, "--ephemeral", "--name", &name];
        Ok((self.sandbox.console(&[&args[..], options].concat())?, name))
    }

    /// Ends it, in whatever state it is.
    pub fn end(&self, mut console: Console, name: &str) -> Result<()> {
        self.sandbox.ok(&["kill", name])?;
        console.wait_exit(SHORT)?;
        Ok(())
    }

    /// Puts files back as they were.
    pub fn heal(&self, files: &[&str]) -> Result<()> {
        for file in files {
            let (from, to) = (self.whole.join(file), self.dir.join(file));
            let mut remove = Command::new("rm");
            remove.arg("-rf").arg(&to);
            ensure!(
                process::run(&mut remove, b"", SHORT)?.code == 0,
                "removing {file}"
            );
            if fs::symlink_metadata(&from).is_ok() {
                let mut copy = Command::new("cp");
                copy.arg("-a").arg(&from).arg(&to);
                ensure!(
                    process::run(&mut copy, b"", SHORT)?.code == 0,
                    "copying {file}"
                );
            }
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn finish(self) -> Result<()> {
        self.sandbox.finish()
    }
}

/// Root's name and password, and then no shell but the symptom.
pub fn refused(console: &mut Console, symptom: &str) -> Result<()> {
    console
        .expect(Regex::new(r"\S+ login: ?")?, LONG)
        .context("waiting for a login prompt")?;
    console.send_line("\x15root")?;
    let asked = format!("(?s)[Pp]assword: ?|{symptom}");
    let answer = console
        .expect(Regex::new(&asked)?, LONG)
        .context("after the name")?;
    let seen = answer.groups.first().cloned().unwrap_or_default();
    if seen.to_lowercase().starts_with("password") {
        console.send_line(PASSWORD)?;
        console
            .expect(Regex::new(&format!("(?s){symptom}"))?, LONG)
            .context("after the password")?;
    }
    Ok(())
}

/// Changes a text file of the tree.
pub fn change(dir: &Path, file: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    // In its place, so that its mode and owner stay.
    fs::write(&path, change(&text)).with_context(|| format!("writing {file}"))
}
