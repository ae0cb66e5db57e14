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
