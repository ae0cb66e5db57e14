//! Edits in the form in which rules and inits ask for them, at the place where the path really is.

use crate::View;
use repot_model::{Change, Edit};

/// A file with this content; what is there keeps its mode.
pub(crate) fn write(view: &View<'_>, path: &str, text: impl Into<String>, why: &str) -> Edit {
    made(
        view,
        path,
        Change::Write {
            text: text.into(),
            mode: None,
        },
        why,
    )
}

/// An executable file with this content.
pub(crate) fn script(view: &View<'_>, path: &str, text: impl Into<String>, why: &str) -> Edit {
    made(
        view,
        path,
        Change::Write {
            text: text.into(),
            mode: Some(0o755),
        },
        why,
    )
}

/// A symlink. Its own place is edited, not where one that is there leads.
pub(crate) fn link(view: &View<'_>, path: &str, to: &str, why: &str) -> Edit {
    Edit {
        path: own_place(view, path),
        change: Change::Link { to: to.to_owned() },
        why: why.to_owned(),
    }
}

/// Nothing where something is; a symlink goes, and not what it leads to.
pub(crate) fn remove(view: &View<'_>, path: &str, why: &str) -> Edit {
    Edit {
        path: own_place(view, path),
        change: Change::Remove,
        why: why.to_owned(),
    }
}

/// Notes edits that follow one another: each is seen by what comes after, and of several of one file the last is kept.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    /// The tree with what was noted.
    pub(crate) view: View<'a>,
    edits: Vec<Edit>,
}

impl<'a> Edits<'a> {
    pub(crate) fn new(view: &View<'a>) -> Self {
        Self {
            view: view.clone(),
            edits: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, edits: Vec<Edit>) {
        for edit in edits {
            self.view.apply(&edit);
            if matches!(edit.change, Change::Write { .. }) {
                self.edits.retain(|known| {
                    known.path != edit.path || !matches!(known.change, Change::Write { .. })
                });
            }
            self.edits.push(edit);
        }
    }

    pub(crate) fn done(self) -> Vec<Edit> {
        self.edits
    }
}

fn made(view: &View<'_>, path: &str, change: Change, why: &str) -> Edit {
    Edit {
        path: view.place(path),
        change,
        why: why.to_owned(),
    }
}

/// The directory resolved, the last component as it is.
fn own_place(view: &View<'_>, path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    // No directory is called so, and `place` follows only the last component to a file.
    let probe = view.place(&format!("{dir}/.repot-probe"));
    let dir = probe.strip_suffix(".repot-probe").unwrap_or("/");
    format!("{dir}{name}")
}
