//! The rule book on real distributions: a tree that was broken on purpose does not let root in as it is, and does with what
//! `repot boot` lays over it.
//!
//! A fault is a change of a few small files, so that one copy of a tree serves many of them: the files are put back in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use repot_e2e::console::{Console, Found};
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

/// A fault that lets root in, and that a command of theirs then shows.
pub struct Blemish {
    /// The rule that is to find it.
    pub rule: &'static str,
    /// Breaks the tree.
    pub spoil: fn(&Path) -> Result<()>,
    /// What root types.
    pub command: &'static str,
    /// What the command says without the rule, as a regular expression.
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

    /// With each fault by itself: the symptom instead of a login without the rules, a shell with them.
    pub fn suffers(&self, faults: &[Fault]) -> Result<()> {
        self.suffers_unless(&[], faults)
    }

    /// The same where the rule only does something if it is asked to, by these options.
    pub fn suffers_unless(&self, options: &[&str], faults: &[Fault]) -> Result<()> {
        self.each(faults, |fault| {
            let (mut console, name) = self.boot(&["--no-fix"])?;
            refused(&mut console, fault.symptom).context("without the rules")?;
            self.end(console, &name)?;
            let (mut console, name) = self.boot(options)?;
            session::login(&mut console).context("with the rules")?;
            self.end(console, &name)
        })
    }

    /// With each fault by itself: the symptom on the console before anybody types without the rules; a shell with them, and no such
    /// symptom.
    pub fn complains(&self, options: &[&str], faults: &[Fault]) -> Result<()> {
        self.each(faults, |fault| {
            let symptom = Regex::new(&format!("(?s){}", fault.symptom))?;
            let (mut console, name) = self.boot(&[&["--no-fix"], options].concat())?;
            let seen = console.expect(symptom.clone(), LONG);
            seen.context("without the rules")?;
            self.end(console, &name)?;
            let (mut console, name) = self.boot(options)?;
            session::login(&mut console).context("with the rules")?;
            ensure!(
                !symptom.is_match(console.text()),
                "with the rules: {}",
                console.text()
            );
            self.end(console, &name)
        })
    }

    /// With all of them at once, since none hides another: what their commands say without the rules, and no longer with them.
    /// Both boots have these options.
    pub fn is_blemished(&self, options: &[&str], blemishes: &[Blemish]) -> Result<()> {
        for blemish in blemishes {
            (blemish.spoil)(&self.dir).context(blemish.rule)?;
        }
        self.find(blemishes.iter().map(|blemish| blemish.rule))?;
        for (without, is_there) in [(&["--no-fix"][..], true), (&[], false)] {
            let (mut console, name) = self.boot(&[options, without].concat())?;
            session::login(&mut console)?;
            for blemish in blemishes {
                let said = console.run_status(blemish.command, SHORT)?.output;
                ensure!(
                    Regex::new(blemish.symptom)?.is_match(&said) == is_there,
                    "{}, booted with {without:?}: {} says {said:?}",
                    blemish.rule,
                    blemish.command
                );
            }
            self.end(console, &name)?;
        }
        Ok(())
    }

    /// Breaks the tree in each way, sees that doctor finds it, looks, and puts it right again.
    fn each(&self, faults: &[Fault], look: impl Fn(&Fault) -> Result<()>) -> Result<()> {
        for fault in faults {
            let about = || format!("the fault for {}", fault.rule);
            (fault.spoil)(&self.dir).with_context(about)?;
            self.find([fault.rule]).with_context(about)?;
            look(fault).with_context(about)?;
            self.heal(fault.files)?;
        }
        Ok(())
    }

    /// Doctor finds what these rules are about.
    fn find<'a>(&self, rules: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let found = self.findings()?;
        for rule in rules {
            ensure!(
                found.iter().any(|known| known == rule),
                "{rule} is not in what doctor finds: {found:?}"
            );
        }
        Ok(())
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

    /// Ends it, in whatever state it is: it may have ended by itself.
    pub fn end(&self, mut console: Console, name: &str) -> Result<()> {
        self.sandbox.repot(&["kill", name])?;
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

/// Root's name and password, and then no shell but the symptom. A getty throws away what is not read yet (tcflush(3)), so that on a busy
/// host the last words of the login before it may be lost: then once more.
pub fn refused(console: &mut Console, symptom: &str) -> Result<()> {
    let prompt = Regex::new(r"\S+ login: ?")?;
    console
        .expect(prompt.clone(), LONG)
        .context("waiting for a login prompt")?;
    let asked = Regex::new(&format!("(?s)[Pp]assword: ?|{symptom}"))?;
    let answer = Regex::new(&format!("(?s){symptom}|{prompt}"))?;
    let first = |found: Found| found.groups.first().cloned().unwrap_or_default();
    for _ in 0..5 {
        console.send_line("\x15root")?;
        let seen = console
            .expect(asked.clone(), LONG)
            .context("after the name")?;
        if !first(seen).to_lowercase().starts_with("password") {
            return Ok(());
        }
        console.send_line(PASSWORD)?;
        let seen = console
            .expect(answer.clone(), LONG)
            .context("after the password")?;
        if !prompt.is_match(&first(seen)) {
            return Ok(());
        }
    }
    bail!("no {symptom:?} at five logins")
}

/// Changes a text file of the tree.
pub fn change(dir: &Path, file: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    // In its place, so that its mode and owner stay.
    fs::write(&path, change(&text)).with_context(|| format!("writing {file}"))
}
