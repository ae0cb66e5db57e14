//! Edits in the form in which rules and inits ask for them, at the place where the path really is.

use crate::{Result, View};
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

/// Any change of a path.
pub(crate) fn made(view: &View<'_>, path: &str, change: Change, why: &str) -> Edit {
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

/// A new content for a text file that is there, made from its old one. `None`: there is no such file, nothing would change, or it
/// holds bytes that are no UTF-8, which a rewrite would lose.
pub(crate) fn rewrite(
    view: &View<'_>,
    path: &str,
    why: &str,
    change: impl FnOnce(&str) -> String,
) -> Result<Option<Edit>> {
    let Some(old) = view.text(path)? else {
        return Ok(None);
    };
    let new = change(&old);
    if new == old || old.contains(char::REPLACEMENT_CHARACTER) {
        return Ok(None);
    }
    Ok(Some(Edit {
        path: view.place(path),
        change: Change::Write {
            text: new,
            mode: None,
        },
        why: why.to_owned(),
    }))
}

/// A link at `path` to `to`, as a text that means the same from outside the tree as from inside: relative.
pub(crate) fn relative_link(path: &str, to: &str) -> String {
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (from, to) = (parts(path), parts(to));
    let from = from.get(..from.len().saturating_sub(1)).unwrap_or_default();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut text: Vec<&str> = vec![".."; from.len() - common];
    text.extend(to.iter().skip(common).map(String::as_str));
    text.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    #[test]
    fn relative_links() {
        for (path, to, text) in [
            (
                "/sbin/init",
                "/lib/systemd/systemd",
                "../lib/systemd/systemd",
            ),
            ("/usr/sbin/init", "/usr/lib/x", "../lib/x"),
            ("/init", "/sbin/init", "sbin/init"),
            ("/usr/bin/a", "/usr/bin/b", "b"),
        ] {
            assert_eq!(relative_link(path, to), text);
        }
    }

    #[test]
    fn only_known_texts_are_rewritten() {
        let tree = Tree::new().file("/a", "x\n").file("/b", "\u{fffd}\n");
        let root = tree.root();
        let view = View::new(&root);
        let change = |text: &str| format!("{text}y\n");
        assert!(rewrite(&view, "/a", "", change).unwrap().is_some());
        assert_eq!(rewrite(&view, "/b", "", change).unwrap(), None);
        assert_eq!(rewrite(&view, "/c", "", change).unwrap(), None);
        assert_eq!(rewrite(&view, "/a", "", str::to_owned).unwrap(), None);
    }
}
