//! How rules make edits: at the place where a layer can have them, and only where the text is known to the byte.

use crate::{Result, View};
use repot_model::{Change, Edit};

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

/// Any change of a path.
pub(crate) fn edit(view: &View<'_>, path: &str, change: Change, why: &str) -> Edit {
    Edit {
        path: view.place(path),
        change,
        why: why.to_owned(),
    }
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
