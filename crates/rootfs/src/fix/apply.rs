//! From edits to steps, and each step into the journal before it is made.

use super::journal::{Entry, Journal};
use super::state::{Bytes, State};
use crate::attrs::Attrs;
use crate::layer::names;
use crate::write::{Content, Root, hex};
use crate::{Error, FileKind, Result};
use repot_model::{Change, Edit};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many changes of owner or mode are recorded together, for one wait for the disk.
const BATCH: usize = 1024;

/// The most entries that a removed directory may have.
const REMOVE_LIMIT: usize = 100_000;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Paths in the tree that are no longer as they were, in order.
    pub changed: Vec<String>,
}

/// One step: a path, and what becomes of it.
#[derive(Debug)]
enum Step {
    /// Something else is there.
    Make { path: Vec<u8>, will: Will },
    /// The same with other attributes.
    Attrs { path: Vec<u8>, attrs: Attrs },
}

#[derive(Debug)]
enum Will {
    File { text: Vec<u8>, attrs: Attrs },
    Link { to: Vec<u8>, attrs: Attrs },
    Directory { attrs: Attrs },
    Absent,
}

/// Makes the edits, in order; each sees what those before it have made. Edits that would change nothing are left out.
///
/// # Errors
/// At the first edit that cannot be made; those before it are made, and can be undone.
pub fn apply(root: &Root, edits: &[Edit], journal: &mut Journal) -> Result<Applied> {
    journal.sweep(root)?;
    let mut maker = Maker {
        root,
        journal,
        waiting: Vec::new(),
        applied: Applied::default(),
    };
    for edit in edits {
        let path = format!("/{}", names(&edit.path)?.join("/"));
        let is_waited_for = |(waiting, _): &(Vec<u8>, Attrs)| waiting == path.as_bytes();
        let is_attrs = matches!(edit.change, Change::Mode { .. } | Change::Owner { .. });
        if !is_attrs || maker.waiting.len() >= BATCH || maker.waiting.iter().any(is_waited_for) {
            maker.flush()?;
        }
        for step in steps(root, &path, &edit.change)? {
            maker.make(step)?;
        }
    }
    maker.flush()?;
    Ok(maker.applied)
}

#[derive(Debug)]
struct Maker<'a> {
    root: &'a Root,
    journal: &'a mut Journal,
    /// Changes of attributes that are recorded and made together.
    waiting: Vec<(Vec<u8>, Attrs)>,
    applied: Applied,
}

impl Maker<'_> {
    fn make(&mut self, step: Step) -> Result<()> {
        let (path, will) = match step {
            Step::Attrs { path, attrs } => {
                self.waiting.push((path, attrs));
                return Ok(());
            }
            Step::Make { path, will } => (path, will),
        };
        let was = self.journal.keep(self.root, &path, self.journal.next())?;
        for entry in self.journal.begin(vec![(Bytes(path), was, state(&will))])? {
            let spot = self.root.spot(&entry.path.0)?;
            spot.tidily(&entry.temp, || match &will {
                Will::File { text, attrs } => spot.put_file(&entry.temp, &text[..], attrs),
                Will::Link { to, attrs } => spot.put_link(&entry.temp, to, attrs),
                Will::Directory { attrs } => spot.put_directory(&entry.temp, attrs),
                Will::Absent => spot.remove(),
            })?;
            self.finish(&entry)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut begin = Vec::new();
        for (path, attrs) in std::mem::take(&mut self.waiting) {
            let was = self.root.observe(&path, Content::Ignored)?;
            let will = was.with_attrs(attrs);
            begin.push((Bytes(path), was, will));
        }
        if begin.is_empty() {
            return Ok(());
        }
        for entry in self.journal.begin(begin)? {
            if let Some(attrs) = entry.will.attrs() {
                self.root.spot(&entry.path.0)?.put_attrs(attrs)?;
            }
            self.finish(&entry)?;
        }
        Ok(())
    }

    fn finish(&mut self, entry: &Entry) -> Result<()> {
        self.journal.done(entry.n)?;
        let path = entry.shown();
        if !self.applied.changed.contains(&path) {
            self.applied.changed.push(path);
        }
        Ok(())
    }
}

/// What the path will be, for the journal.
fn state(will: &Will) -> State {
    match will {
        Will::File { text, attrs } => State::File {
            attrs: attrs.clone(),
            sha256: Some(hex(&Sha256::digest(text))),
            links: 1,
            inode: 0,
        },
        Will::Link { to, attrs } => State::Link {
            attrs: attrs.clone(),
            to: Bytes(to.clone()),
        },
        Will::Directory { attrs } => State::Directory {
            attrs: attrs.clone(),
        },
        Will::Absent => State::Absent,
    }
}

/// What an edit takes; nothing if it is so already.
fn steps(root: &Root, path: &str, change: &Change) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let step = |will| Step::Make {
        path: path.as_bytes().to_owned(),
        will,
    };
    match change {
        Change::Write { text, mode } => {
            let was = root.observe(path.as_bytes(), Content::Hashed)?;
            let mut attrs = match &was {
                State::File { attrs, .. } => attrs.clone(),
                State::Absent
                | State::Link { .. }
                | State::Directory { .. }
                | State::Special { .. } => Attrs::new(FileKind::File, 0o644),
            };
            if let Some(mode) = mode {
                attrs.mode = mode & 0o7777;
            }
            attrs.mtime = now();
            let will = Will::File {
                text: text.clone().into_bytes(),
                attrs,
            };
            if !was.is_like(&state(&will)) {
                make_way(root, path, &was, &mut steps)?;
                steps.push(step(will));
            }
        }
        Change::Link { to } => {
            let was = root.observe(path.as_bytes(), Content::Ignored)?;
            let mut attrs = match &was {
                State::Link { attrs, .. } => attrs.clone(),
                State::Absent
                | State::File { .. }
                | State::Directory { .. }
                | State::Special { .. } => Attrs::new(FileKind::Symlink, 0o777),
            };
            attrs.mtime = now();
            let will = Will::Link {
                to: to.clone().into_bytes(),
                attrs,
            };
            if !was.is_like(&state(&will)) {
                make_way(root, path, &was, &mut steps)?;
                steps.push(step(will));
            }
        }
        // A link to a directory of the tree is one, too.
        Change::Directory { .. } if root.read().is_dir(path) => {}
        Change::Directory { mode } => {
            let was = root.observe(path.as_bytes(), Content::Ignored)?;
            make_way(root, path, &was, &mut steps)?;
            if was != State::Absent {
                steps.push(step(Will::Absent));
            }
            steps.push(step(directory(mode & 0o7777)));
        }
        Change::Remove => remove(root, path.as_bytes(), &mut steps)?,
        Change::Mode { .. } | Change::Owner { .. } => {
            let was = root.observe(path.as_bytes(), Content::Ignored)?;
            let Some(old) = was.attrs() else {
                return Err(Error::NotFound {
                    path: path.to_owned(),
                });
            };
            let mut attrs = old.clone();
            if let Change::Owner { uid, gid } = change {
                (attrs.uid, attrs.gid) = (*uid, *gid);
            }
            // A symlink's mode means nothing (symlink(7)).
            if let (Change::Mode { mode }, true) = (change, old.kind != FileKind::Symlink) {
                attrs.mode = mode & 0o7777;
            }
            if attrs != *old {
                let path = path.as_bytes().to_owned();
                steps.push(Step::Attrs { path, attrs });
            }
        }
    }
    Ok(steps)
}

fn directory(mode: u32) -> Will {
    let mut attrs = Attrs::new(FileKind::Directory, mode);
    attrs.mtime = now();
    Will::Directory { attrs }
}

/// Directories on the way that are missing are made; a directory in the way goes.
fn make_way(root: &Root, path: &str, was: &State, steps: &mut Vec<Step>) -> Result<()> {
    if matches!(was, State::Directory { .. }) {
        return remove(root, path.as_bytes(), steps);
    }
    for (at, _) in path.match_indices('/').skip(1) {
        let above = path.get(..at).unwrap_or_default().as_bytes();
        if root.observe(above, Content::Ignored)? == State::Absent {
            steps.push(Step::Make {
                path: above.to_owned(),
                will: directory(0o755),
            });
        }
    }
    Ok(())
}

/// A path with all that is below it, the innermost first.
fn remove(root: &Root, path: &[u8], steps: &mut Vec<Step>) -> Result<()> {
    let mut found = vec![path.to_owned()];
    let mut looked_at = 0;
    match root.observe(path, Content::Ignored)? {
        State::Absent => return Ok(()),
        State::Directory { .. } => {}
        State::File { .. } | State::Link { .. } | State::Special { .. } => looked_at = 1,
    }
    while let Some(next) = found.get(looked_at).cloned() {
        looked_at += 1;
        let spot = root.spot(&next)?;
        if !matches!(spot.observe(Content::Ignored)?, State::Directory { .. }) {
            continue;
        }
        for name in spot.list()? {
            found.push([&next[..], b"/", &name].concat());
        }
        if found.len() > REMOVE_LIMIT {
            return Err(Error::TooLarge {
                path: String::from_utf8_lossy(path).into_owned(),
                limit: REMOVE_LIMIT as u64,
            });
        }
    }
    steps.extend(found.into_iter().rev().map(|path| Step::Make {
        path,
        will: Will::Absent,
    }));
    Ok(())
}

fn now() -> (i64, i64) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (
        i64::try_from(since.as_secs()).unwrap_or(0),
        since.subsec_nanos().into(),
    )
}
