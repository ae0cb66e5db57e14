//! The tree as it would be with the edits that rules have asked for so far.
//!
//! Rules run one after another, and each sees what those before it have changed, so that two that edit one file add up.
//! Nothing is written: edits are kept here until somebody lays them over the tree or writes them into it.

use crate::Result;
use crate::reading::optional;
use repot_model::{Change, Edit};
use repot_rootfs::{FileKind, Metadata, RootRead};
use std::collections::{BTreeMap, BTreeSet};

/// As path_resolution(7): more symlinks than this are a loop.
const MAX_LINKS: usize = 40;

/// A tree with edits that are not written yet.
#[derive(Debug, Clone)]
pub struct View<'a> {
    root: &'a RootRead,
    nodes: BTreeMap<String, Node>,
}

/// What an edit has made of a path.
#[derive(Debug, Clone)]
enum Node {
    File { text: String, mode: u32 },
    Link { to: String },
    Directory { mode: u32 },
    Gone,
}

impl<'a> View<'a> {
    /// The tree as it is.
    pub fn new(root: &'a RootRead) -> Self {
        Self {
            root,
            nodes: BTreeMap::new(),
        }
    }

    /// The tree below, without any edit.
    pub fn root(&self) -> &RootRead {
        self.root
    }

    /// Takes an edit into account. `Mode` and `Owner` change nothing that rules look at but permission bits.
    pub fn apply(&mut self, edit: &Edit) {
        let path = clean(&edit.path);
        let node = match &edit.change {
            Change::Write { text, mode } => Node::File {
                text: text.clone(),
                mode: mode
                    .or_else(|| self.metadata(&path).map(|found| found.mode))
                    .unwrap_or(0o644),
            },
            Change::Link { to } => Node::Link { to: to.clone() },
            Change::Directory { mode } if !self.is_dir(&path) => Node::Directory { mode: *mode },
            Change::Remove => {
                let below = format!("{path}/");
                self.nodes.retain(|known, _| !known.starts_with(&below));
                Node::Gone
            }
            Change::Directory { .. } | Change::Owner { .. } => return,
            Change::Mode { mode } => match self.nodes.get(&path).cloned() {
                Some(Node::File { text, .. }) => Node::File { text, mode: *mode },
                Some(Node::Directory { .. }) => Node::Directory { mode: *mode },
                Some(Node::Link { .. } | Node::Gone) => return,
                None => match self.text(&path) {
                    // Only texts are looked at again.
                    Ok(Some(text)) => Node::File { text, mode: *mode },
                    Ok(None) | Err(_) => return,
                },
            },
        };
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if above.is_empty() || self.is_dir(above) {
                break;
            }
            let made = above.to_owned();
            self.nodes.insert(made, Node::Directory { mode: 0o755 });
            parent = above;
        }
        self.nodes.insert(path, node);
    }

    /// Where a path ends after all symlinks, or where it would be if it were made: its directory exists, it itself need not.
    /// `None`: a directory on the way is missing, is no directory, or the links go round in circles.
    pub fn resolve(&self, path: &str) -> Option<String> {
        self.walk(path, true)
    }

    /// The path under which to edit `path`: without symlinks in its directory, since a layer cannot go through a link. The last
    /// component is followed only to a regular file. Missing directories on the way are no obstacle.
    pub fn place(&self, path: &str) -> String {
        if let Some(end) = self.resolve(path)
            && self.kind_at(&end) == Some(FileKind::File)
        {
            return end;
        }
        let path = clean(path);
        let (mut parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let mut rest = name.to_owned();
        loop {
            let dir = if parent.is_empty() { "/" } else { parent };
            if let Some(end) = self.resolve(dir)
                && self.kind_at(&end) == Some(FileKind::Directory)
            {
                return clean(&format!("{end}/{rest}"));
            }
            let (above, name) = parent.rsplit_once('/').unwrap_or(("", parent));
            if name.is_empty() {
                return path;
            }
            rest = format!("{name}/{rest}");
            parent = above;
        }
    }

    /// What `path` is, symlinks followed.
    pub fn kind(&self, path: &str) -> Option<FileKind> {
        self.kind_at(&self.resolve(path)?)
    }

    /// What `path` is, a symlink at its end not followed.
    pub fn symlink_kind(&self, path: &str) -> Option<FileKind> {
        self.kind_at(&self.walk(path, false)?)
    }

    /// Mode and owner, symlinks followed. Files that edits have made belong to root.
    pub fn metadata(&self, path: &str) -> Option<Metadata> {
        let end = self.resolve(path)?;
        let made = |kind, mode, size_bytes| Metadata {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size_bytes,
        };
        match self.node(&end) {
            Some(Node::File { text, mode }) => {
                let old = self.root.symlink_metadata(&end).ok();
                let mut found = made(FileKind::File, *mode, text.len() as u64);
                if let Some(old) = old.filter(|old| old.kind == FileKind::File) {
                    (found.uid, found.gid) = (old.uid, old.gid);
                }
                Some(found)
            }
            Some(Node::Directory { mode }) => Some(made(FileKind::Directory, *mode, 0)),
            Some(Node::Link { .. } | Node::Gone) => None,
            None => self.root.symlink_metadata(&end).ok(),
        }
    }

    /// Whether `path` exists, symlinks followed.
    pub fn exists(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    /// Whether `path` is a directory, symlinks followed.
    pub fn is_dir(&self, path: &str) -> bool {
        self.kind(path) == Some(FileKind::Directory)
    }

    /// Whether `path` is a regular file, symlinks followed.
    pub fn is_file(&self, path: &str) -> bool {
        self.kind(path) == Some(FileKind::File)
    }

    /// Whether `path` is a regular file with an execute bit, symlinks followed.
    pub fn is_executable(&self, path: &str) -> bool {
        self.metadata(path)
            .is_some_and(|found| found.is_executable())
    }

    /// A text file, if there is one that may be read.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let Some(end) = self.resolve(path) else {
            return Ok(None);
        };
        match self.node(&end) {
            Some(Node::File { text, .. }) => Ok(Some(text.clone())),
            Some(Node::Link { .. } | Node::Directory { .. } | Node::Gone) => Ok(None),
            None => optional(self.root.read_text(&end)),
        }
    }

    /// The text of a symlink.
    pub fn read_link(&self, path: &str) -> Option<String> {
        self.link_at(&self.walk(path, false)?)
    }

    /// The names in a directory, sorted; none if there is no such directory.
    ///
    /// # Errors
    /// Only if the machine fails to read the tree.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let Some(end) = self.resolve(path) else {
            return Ok(Vec::new());
        };
        let mut names: BTreeSet<String> = optional(self.root.read_dir(&end))?
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let below = if end == "/" { end } else { format!("{end}/") };
        for (known, node) in self.nodes.range(below.clone()..) {
            let Some(name) = known.strip_prefix(&below) else {
                break;
            };
            if name.contains('/') {
                continue;
            }
            match node {
                Node::Gone => names.remove(name),
                Node::File { .. } | Node::Link { .. } | Node::Directory { .. } => {
                    names.insert(name.to_owned())
                }
            };
        }
        Ok(names.into_iter().collect())
    }

    /// The edit of that exact path, or that something above it is gone.
    fn node(&self, path: &str) -> Option<&Node> {
        if let Some(node) = self.nodes.get(path) {
            return Some(node);
        }
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            match self.nodes.get(above) {
                Some(node @ (Node::Gone | Node::File { .. })) => {
                    return matches!(node, Node::Gone).then_some(node);
                }
                Some(Node::Link { .. } | Node::Directory { .. }) | None => parent = above,
            }
        }
        None
    }

    fn kind_at(&self, path: &str) -> Option<FileKind> {
        match self.node(path) {
            Some(Node::File { .. }) => Some(FileKind::File),
            Some(Node::Link { .. }) => Some(FileKind::Symlink),
            Some(Node::Directory { .. }) => Some(FileKind::Directory),
            Some(Node::Gone) => None,
            None => self
                .root
                .symlink_metadata(path)
                .ok()
                .map(|found| found.kind),
        }
    }

    fn link_at(&self, path: &str) -> Option<String> {
        match self.node(path) {
            Some(Node::Link { to }) => Some(to.clone()),
            Some(Node::File { .. } | Node::Directory { .. } | Node::Gone) => None,
            None => self.root.read_link(path).ok(),
        }
    }

    /// Goes along a path as the kernel would after chroot(2).
    fn walk(&self, path: &str, follow_last: bool) -> Option<String> {
        let mut rest: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            let here = format!("/{}", at.join("/"));
            let is_last = rest.is_empty();
            match self.kind_at(&here) {
                Some(FileKind::Symlink) if !is_last || follow_last => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    let to = self.link_at(&here)?;
                    at.pop();
                    if to.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(parts(&to).rev().map(str::to_owned));
                }
                Some(FileKind::Directory) => {}
                _ if is_last => {}
                _ => return None,
            }
        }
        Some(format!("/{}", at.join("/")))
    }
}

/// The components of a path but for empty ones and `.`.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

/// A path in its shortest form; `..` is left to [`View::walk`].
fn clean(path: &str) -> String {
    let mut clean = String::new();
    for part in parts(path) {
        clean.push('/');
        clean.push_str(part);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    fn write(path: &str, text: &str) -> Edit {
        Edit {
            path: path.into(),
            change: Change::Write {
                text: text.into(),
                mode: None,
            },
            why: String::new(),
        }
    }

    fn edit(path: &str, change: Change) -> Edit {
        Edit {
            path: path.into(),
            change,
            why: String::new(),
        }
    }

    #[test]
    fn edits_add_up_and_are_seen_through_links() {
        let tree = Tree::new()
            .file("/usr/etc/a", "one\n")
            .link("/etc", "usr/etc")
            .link("/usr/etc/abs", "/usr/etc/a");
        let root = tree.root();
        let mut view = View::new(&root);
        assert_eq!(view.text("/etc/abs").unwrap().as_deref(), Some("one\n"));
        assert_eq!(view.place("/etc/abs"), "/usr/etc/a");
        assert_eq!(view.place("/etc/new/b"), "/usr/etc/new/b");
        view.apply(&write("/usr/etc/a", "two\n"));
        assert_eq!(view.text("/etc/abs").unwrap().as_deref(), Some("two\n"));
        view.apply(&write("/usr/etc/new/b", "b"));
        assert!(view.is_dir("/etc/new"));
        assert_eq!(view.names("/etc").unwrap(), ["a", "abs", "new"]);
        view.apply(&edit("/usr/etc/new", Change::Remove));
        assert!(!view.exists("/etc/new/b"));
        assert_eq!(view.names("/etc").unwrap(), ["a", "abs"]);
        view.apply(&edit("/usr/etc/l", Change::Link { to: "a".into() }));
        assert_eq!(view.text("/etc/l").unwrap().as_deref(), Some("two\n"));
        view.apply(&edit("/usr/etc/a", Change::Mode { mode: 0o755 }));
        assert!(view.is_executable("/etc/l"));
        assert_eq!(view.text("/etc/l").unwrap().as_deref(), Some("two\n"));
    }

    #[test]
    fn circles_and_ways_out_lead_nowhere() {
        let tree = Tree::new()
            .link("/a", "b")
            .link("/b", "a")
            .link("/up", "../../../etc/x")
            .file("/etc/x", "x");
        let root = tree.root();
        let view = View::new(&root);
        assert_eq!(view.resolve("/a"), None);
        assert!(!view.exists("/a/c"));
        assert_eq!(view.text("/up").unwrap().as_deref(), Some("x"));
        assert_eq!(view.place("/nothing/here"), "/nothing/here");
    }
}
