//! Edits as a unified diff, for people and for patch(1), with what is secret in it left out.

use repot_model::{Change, Edit};
use repot_rootfs::{FileKind, RootRead};
use similar::TextDiff;
use std::collections::BTreeMap;

/// What is under a path, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Nothing,
    Text(String),
    Link(String),
    Directory,
    /// A device or the like, or a file that is no text or too large for one.
    Other,
}

/// One path before and after all edits.
#[derive(Debug)]
struct Pair {
    path: String,
    before: (Thing, u32, (u32, u32)),
    after: (Thing, u32, (u32, u32)),
}

/// All edits as one diff, path by path in the order of the first edit of each. `secrets` are texts that are not shown.
pub(crate) fn unified(root: &RootRead, edits: &[Edit], secrets: &[&str]) -> String {
    let mut pairs: Vec<Pair> = Vec::new();
    for edit in edits {
        let number = match pairs.iter().position(|pair| pair.path == edit.path) {
            Some(number) => number,
            None => {
                let before = before(root, &edit.path);
                pairs.push(Pair {
                    path: edit.path.clone(),
                    after: before.clone(),
                    before,
                });
                pairs.len() - 1
            }
        };
        if let Some(pair) = pairs.get_mut(number) {
            apply(&mut pair.after, &edit.change);
        }
    }
    pairs.iter().map(|pair| shown(pair, secrets)).collect()
}

fn before(root: &RootRead, path: &str) -> (Thing, u32, (u32, u32)) {
    let Ok(found) = root.symlink_metadata(path) else {
        return (Thing::Nothing, 0, (0, 0));
    };
    let thing = match found.kind {
        FileKind::File => root.read_text(path).map_or(Thing::Other, Thing::Text),
        FileKind::Directory => Thing::Directory,
        FileKind::Symlink => root.read_link(path).map_or(Thing::Other, Thing::Link),
        FileKind::Fifo
        | FileKind::Socket
        | FileKind::CharDevice
        | FileKind::BlockDevice
        | FileKind::Unknown => Thing::Other,
    };
    (thing, found.mode, (found.uid, found.gid))
}

fn apply((thing, mode, owner): &mut (Thing, u32, (u32, u32)), change: &Change) {
    let mut fresh = |is_kept: bool, new: Option<u32>, default| {
        if !is_kept {
            (*mode, *owner) = (default, (0, 0));
        }
        *mode = new.unwrap_or(*mode);
    };
    match change {
        Change::Write { text, mode } => {
            let is_kept = matches!(thing, Thing::Text(_) | Thing::Other);
            fresh(is_kept, *mode, 0o644);
            *thing = Thing::Text(text.clone());
        }
        Change::Link { to } => {
            fresh(matches!(thing, Thing::Link(_)), None, 0o777);
            *thing = Thing::Link(to.clone());
        }
        Change::Directory { mode } => {
            if *thing != Thing::Directory {
                fresh(false, Some(*mode), 0o755);
                *thing = Thing::Directory;
            }
        }
        Change::Remove => {
            fresh(false, None, 0);
            *thing = Thing::Nothing;
        }
        Change::Mode { mode } => fresh(true, Some(*mode), 0),
        Change::Owner { uid, gid } => *owner = (*uid, *gid),
    }
}

fn shown(pair: &Pair, secrets: &[&str]) -> String {
    let (was, is) = (&pair.before, &pair.after);
    if was == is {
        return String::new();
    }
    let path = pair.path.trim_start_matches('/');
    let mut out = format!("diff a/{path} b/{path}\n");
    if was.0 != Thing::Nothing && is.0 != Thing::Nothing {
        if was.1 != is.1 {
            out += &format!("old mode {:04o}\nnew mode {:04o}\n", was.1, is.1);
        }
        if was.2 != is.2 {
            out += &format!(
                "old owner {}:{}\nnew owner {}:{}\n",
                was.2.0, was.2.1, is.2.0, is.2.1
            );
        }
    } else if is.0 != Thing::Nothing {
        out += &format!("new {} mode {:04o}\n", noun(&is.0), is.1);
    } else {
        out += &format!("deleted {} mode {:04o}\n", noun(&was.0), was.1);
    }
    let mut mask = Mask::new(&pair.path, secrets);
    let (old, new) = (mask.text(&was.0), mask.text(&is.0));
    if old != new {
        let name = |thing: &Thing, side: &str| match thing {
            Thing::Nothing => "/dev/null".to_owned(),
            Thing::Text(_) | Thing::Link(_) | Thing::Directory | Thing::Other => {
                format!("{side}/{path}")
            }
        };
        out += &TextDiff::from_lines(&old, &new)
            .unified_diff()
            .context_radius(3)
            .header(&name(&was.0, "a"), &name(&is.0, "b"))
            .to_string();
    }
    out
}

fn noun(thing: &Thing) -> &'static str {
    match thing {
        Thing::Directory => "directory",
        Thing::Link(_) => "link",
        Thing::Nothing | Thing::Text(_) | Thing::Other => "file",
    }
}

/// Replaces hashes of passwords by words that only tell whether they are the same.
#[derive(Debug)]
struct Mask<'a> {
    has_hashes: bool,
    secrets: &'a [&'a str],
    known: BTreeMap<String, usize>,
}

impl<'a> Mask<'a> {
    fn new(path: &str, secrets: &'a [&'a str]) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let has_hashes = ["passwd", "shadow", "group"]
            .iter()
            .any(|word| name.contains(word));
        Self {
            has_hashes,
            secrets,
            known: BTreeMap::new(),
        }
    }

    fn text(&mut self, thing: &Thing) -> String {
        let text = match thing {
            Thing::Text(text) => text.clone(),
            Thing::Link(to) => format!("{to}\n"),
            Thing::Nothing | Thing::Directory | Thing::Other => String::new(),
        };
        let mut masked = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let mut line = line.to_owned();
            if self.has_hashes
                && let Some(hash) = line.split(':').nth(1).map(str::to_owned)
                // Those say something that is no secret: shadow(5), passwd(5).
                && !matches!(hash.trim_end(), "" | "x" | "*" | "!" | "!!" | "!*" | "*LK*")
            {
                line = line.replacen(&hash, &self.word(&hash), 1);
            }
            for secret in self.secrets {
                if line.contains(secret) {
                    let word = self.word(secret);
                    line = line.replace(secret, &word);
                }
            }
            masked.push_str(&line);
        }
        masked
    }

    fn word(&mut self, hash: &str) -> String {
        let next = self.known.len() + 1;
        let number = *self.known.entry(hash.to_owned()).or_insert(next);
        format!("<hidden hash {number}>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, RootRead) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/shadow"),
            "root:$6$old$secret:1:\nbin:*:1:\nuser:$6$other$secret:1:\n",
        )
        .unwrap();
        let root = RootRead::open(dir.path()).unwrap();
        (dir, root)
    }

    fn edit(path: &str, change: Change) -> Edit {
        Edit {
            path: path.into(),
            change,
            why: String::new(),
        }
    }

    #[test]
    fn hashes_are_not_shown() {
        let (_dir, root) = tree();
        let text = "root:$6$new$secret:1:\nbin:*:1:\nuser:$6$other$secret:1:\n";
        let write = Change::Write {
            text: text.into(),
            mode: None,
        };
        let other = Change::Write {
            text: "password=$6$new$secret\n".into(),
            mode: None,
        };
        let edits = [edit("/etc/shadow", write), edit("/etc/other", other)];
        let diff = unified(&root, &edits, &["$6$new$secret"]);
        assert!(!diff.contains("secret"), "{diff}");
        assert!(
            diff.contains("-root:<hidden hash 1>:1:\n+root:<hidden hash 3>:1:\n bin:*:1:\n"),
            "{diff}"
        );
        assert!(diff.contains(" user:<hidden hash 2>:1:"), "{diff}");
        assert!(diff.contains("+password=<hidden hash 1>\n"), "{diff}");
    }

    #[test]
    fn modes_links_and_removals_are_shown_once() {
        let (_dir, root) = tree();
        let edits = [
            edit("/etc/shadow", Change::Mode { mode: 0o600 }),
            edit("/etc/shadow", Change::Owner { uid: 7, gid: 7 }),
            edit(
                "/etc/link",
                Change::Link {
                    to: "shadow".into(),
                },
            ),
            edit("/etc/dir", Change::Directory { mode: 0o755 }),
            edit("/etc/gone", Change::Remove),
        ];
        let diff = unified(&root, &edits, &[]);
        assert!(diff.contains("new mode 0600\n"), "{diff}");
        assert!(diff.contains("new owner 7:7\n"), "{diff}");
        assert!(
            diff.contains("new link mode 0777\n--- /dev/null\n+++ b/etc/link\n"),
            "{diff}"
        );
        assert!(
            diff.contains("diff a/etc/dir b/etc/dir\nnew directory mode 0755\n"),
            "{diff}"
        );
        assert!(!diff.contains("gone"), "{diff}");
        let gone = unified(&root, &[edit("/etc/shadow", Change::Remove)], &[]);
        assert!(
            gone.contains("+++ /dev/null") && gone.contains("-bin:*:1:"),
            "{gone}"
        );
    }
}
