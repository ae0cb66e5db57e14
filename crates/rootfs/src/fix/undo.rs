//! Steps taken back, the last first, unless somebody else has changed what they made.

use super::journal::{Entry, Journal};
use super::state::State;
use crate::write::{Content, Root, Spot};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of files that somebody else has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// They stay, and everything else, too.
    No,
    /// They are replaced by what was there before; only a directory with something new in it stays.
    Yes,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Paths in the tree that are as they were before, in order.
    pub restored: Vec<String>,
    /// Those that could not be restored, with [`Force::Yes`] only.
    pub left: Vec<String>,
}

/// Takes all steps of a journal back and removes it.
///
/// # Errors
/// [`Error::Changed`], with nothing done: somebody else has changed what the steps made. Else where a step cannot be taken back;
/// those after it are, and this can be called again.
pub fn undo(root: &Root, mut journal: Journal, force: Force) -> Result<Undone> {
    if force == Force::No {
        let paths = changed(root, journal.entries())?;
        if !paths.is_empty() {
            return Err(Error::Changed { paths });
        }
    }
    let mut undone = Undone::default();
    let entries: Vec<Entry> = journal.entries().to_vec();
    for entry in entries.iter().rev().filter(|entry| !entry.is_undone) {
        match restore(root, entry, &journal) {
            Ok(()) => {}
            Err(
                Error::Write { .. }
                | Error::NotADirectory { .. }
                | Error::NotFound { .. }
                | Error::NotRegular { .. },
            ) if force == Force::Yes => {
                undone.left.push(entry.shown());
            }
            Err(error) => return Err(error),
        }
        journal.undone(entry.n)?;
        let path = entry.shown();
        if !undone.restored.contains(&path) && !undone.left.contains(&path) {
            undone.restored.push(path);
        }
    }
    journal.remove()?;
    Ok(undone)
}

/// How much of a state has to be looked at to compare it with another one.
fn content_of(entry: &Entry) -> Content<'static> {
    let matters = |state: &State| {
        matches!(
            state,
            State::File {
                sha256: Some(_),
                ..
            }
        )
    };
    match matters(&entry.was) || matters(&entry.will) {
        true => Content::Hashed,
        false => Content::Ignored,
    }
}

/// Paths that are neither as the last step on them left them nor as it found them.
fn changed(root: &Root, entries: &[Entry]) -> Result<Vec<String>> {
    let mut last: BTreeMap<&[u8], &Entry> = BTreeMap::new();
    let mut made: BTreeSet<&[u8]> = BTreeSet::new();
    // Attributes are those of all names of a file, so what was made of one of them counts for the others.
    let mut by_inode: BTreeMap<u64, &Entry> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_undone) {
        last.insert(&entry.path.0, entry);
        if let Some(inode) = shared_inode(entry) {
            by_inode.insert(inode, entry);
        }
        if entry.was == State::Absent {
            made.insert(&entry.path.0);
        }
    }
    let mut paths = Vec::new();
    for (path, entry) in &last {
        let is = match root.observe(path, content_of(entry)) {
            Ok(is) => is,
            // Something of ours took the place of a directory on the way, and goes again.
            Err(Error::NotADirectory { .. }) if is_below_one(path, &last) => State::Absent,
            // A file that has grown beyond all measure, or a directory on the way that is none.
            Err(Error::TooLarge { .. } | Error::NotADirectory { .. }) => {
                paths.push(entry.shown());
                continue;
            }
            Err(error) => return Err(error),
        };
        // Owner, mode and each extended attribute take a call of their own.
        let fits = |entry: &Entry| {
            let is_half_done =
                !entry.is_done && entry.is_attrs_only() && is.is_alike_but_for_attrs(&entry.was);
            is.is_like(&entry.will) || is.is_like(&entry.was) || is_half_done
        };
        let twin = shared_inode(entry).and_then(|inode| by_inode.get(&inode));
        if !fits(entry) && !twin.is_some_and(|twin| fits(twin)) {
            paths.push(entry.shown());
            continue;
        }
        // A directory that goes must not take what others have put into it.
        let goes = made.contains(path) && matches!(is, State::Directory { .. });
        if goes {
            for name in root.spot(path)?.list()? {
                let below = [path, &b"/"[..], &name].concat();
                let is_temp = |entry: &Entry| {
                    entry.temp.as_bytes() == name
                        && entry.path.0.starts_with(&[path, &b"/"[..]].concat())
                };
                if !made.contains(&below[..]) && !entries.iter().any(is_temp) {
                    paths.push(String::from_utf8_lossy(&below).into_owned());
                }
            }
        }
    }
    Ok(paths)
}

/// Of a file with several names, if nothing but its attributes was changed.
fn shared_inode(entry: &Entry) -> Option<u64> {
    match &entry.was {
        State::File { links, inode, .. } if *links > 1 && entry.is_attrs_only() => Some(*inode),
        State::Absent
        | State::File { .. }
        | State::Link { .. }
        | State::Directory { .. }
        | State::Special { .. } => None,
    }
}

/// Whether there is a step on a directory above.
fn is_below_one(path: &[u8], steps: &BTreeMap<&[u8], &Entry>) -> bool {
    (1..path.len()).any(|end| {
        path.get(end) == Some(&b'/')
            && path
                .get(..end)
                .is_some_and(|above| steps.contains_key(above))
    })
}

fn restore(root: &Root, entry: &Entry, journal: &Journal) -> Result<()> {
    let spot = match root.spot(&entry.path.0) {
        Ok(spot) => spot,
        // The directory was not even made.
        Err(Error::NotFound { .. }) if entry.was == State::Absent => return Ok(()),
        Err(error) => return Err(error),
    };
    spot.remove_temp(&entry.temp)?;
    let is = match spot.observe(content_of(entry)) {
        Err(Error::TooLarge { .. }) => spot.observe(Content::Ignored)?,
        other => other?,
    };
    if entry.is_attrs_only() {
        return match entry.was.attrs() {
            Some(attrs) if !is.is_like(&entry.was) => {
                let mut attrs = attrs.clone();
                // Attributes have nothing to do with it.
                attrs.mtime = is.attrs().map_or(attrs.mtime, |is| is.mtime);
                spot.put_attrs(&attrs)
            }
            Some(_) | None => Ok(()),
        };
    }
    let is_back = is.is_like(&entry.was)
        && is.attrs().map(|is| is.mtime) == entry.was.attrs().map(|was| was.mtime);
    spot.tidily(&entry.temp, || match &entry.was {
        State::Absent if is == State::Absent => Ok(()),
        State::Absent => spot.remove(),
        _ if is_back => Ok(()),
        State::File {
            attrs,
            links,
            inode,
            ..
        } => {
            if *links > 1
                && let Some(twin) = twin(root, entry, *inode, journal)?
            {
                return spot.put_hard_link(&entry.temp, &twin);
            }
            spot.put_file(&entry.temp, journal.kept(entry.n)?, attrs)
        }
        State::Link { attrs, to } => spot.put_link(&entry.temp, &to.0, attrs),
        State::Directory { attrs } if matches!(is, State::Directory { .. }) => {
            spot.put_attrs(attrs)
        }
        State::Directory { attrs } => spot.put_directory(&entry.temp, attrs),
        State::Special { attrs, device } => spot.put_special(&entry.temp, *device, attrs),
    })
}

/// Another name of the file that was replaced, if it has one in the tree and is still the same.
fn twin(root: &Root, entry: &Entry, inode: u64, journal: &Journal) -> Result<Option<Spot>> {
    let is_twin = |path: &[u8]| -> Result<Option<Spot>> {
        let spot = root.spot(path)?;
        let is_same = spot.observe(Content::Hashed)?.is_like(&entry.was);
        Ok(is_same.then_some(spot))
    };
    // If all its names went, the first that came back has another number.
    let was_twin = |other: &&Entry| {
        other.is_undone
            && other.path != entry.path
            && matches!(&other.was, State::File { inode: number, .. } if *number == inode)
    };
    for other in journal.entries().iter().filter(was_twin) {
        if let Ok(Some(spot)) = is_twin(&other.path.0) {
            return Ok(Some(spot));
        }
    }
    let mut dirs: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(dir) = dirs.pop() {
        // Gone meanwhile, a mount, or too deep for a path.
        let Ok(names) = root.list(&dir) else {
            continue;
        };
        for (name, kind, number) in names {
            let path = [&dir[..], b"/", &name].concat();
            if kind == crate::FileKind::Directory {
                dirs.push(path);
            } else if number == inode
                && path != entry.path.0
                && let Some(spot) = is_twin(&path)?
            {
                return Ok(Some(spot));
            }
        }
    }
    Ok(None)
}
