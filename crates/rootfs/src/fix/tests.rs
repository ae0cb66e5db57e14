//! Trees that are edited and put back, also where the process is killed on the way. They need root, for owners and devices.

use super::{Force, Journal, apply, undo};
use crate::{Error, Root};
use repot_model::{Change, Edit};
use rustix::fs::{FileType, Mode, XattrFlags, lgetxattr, llistxattr, mknodat, setxattr};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `VFS_CAP_REVISION_2`, effective, with CAP_NET_RAW (linux/capability.h).
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

pub(super) struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("etc/dir/inner")).unwrap();
        fs::create_dir_all(tree.join("bin")).unwrap();
        let file = |name: &str, text: &str, mode: u32, uid: u32, gid: u32| {
            let path = tree.join(name);
            fs::write(&path, text).unwrap();
            lchown(&path, Some(uid), Some(gid)).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        file("etc/shadow", "root:*:\n", 0o640, 0, 42);
        file("etc/inittab", "id:2:initdefault:\n", 0o644, 0, 0);
        file("etc/dir/a", "a", 0o600, 5, 6);
        file("etc/dir/inner/b", "b", 0o444, 7, 8);
        file("etc/dir/twin", "twin", 0o644, 1, 1);
        file("bin/ping", "\x7fELF", 0o755, 0, 0);
        file("bin/su", "\x7fELF su", 0o755, 1000, 1000);
        fs::hard_link(tree.join("etc/dir/twin"), tree.join("etc/other-twin")).unwrap();
        symlink("dir/a", tree.join("etc/link")).unwrap();
        symlink("/nowhere", tree.join("etc/dir/dangling")).unwrap();
        lchown(tree.join("etc/link"), Some(3), Some(4)).unwrap();
        fs::set_permissions(tree.join("etc/dir"), PermissionsExt::from_mode(0o2750)).unwrap();
        let special = |name: &str, kind, device| {
            mknodat(rustix::fs::CWD, tree.join(name), kind, Mode::RUSR, device).unwrap();
        };
        special("etc/dir/null", FileType::CharacterDevice, 0x103);
        special("etc/dir/fifo", FileType::Fifo, 0);
        let xattr = |name: &str, xattr: &str, value: &[u8]| {
            setxattr(tree.join(name), xattr, value, XattrFlags::empty()).unwrap();
        };
        xattr("bin/ping", "security.capability", CAPABILITY);
        xattr("etc/inittab", "user.note", b"\xff\x00");
        xattr("etc/dir", "user.note", b"dir");
        Self { dir }
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub(super) fn fixes(&self) -> PathBuf {
        self.dir.path().join("fixes")
    }

    pub(super) fn apply(&self, edits: &[Edit]) -> crate::Result<Vec<String>> {
        run_apply(self.dir.path(), edits)
    }

    pub(super) fn undo(&self, force: Force) -> crate::Result<Option<super::Undone>> {
        run_undo(self.dir.path(), force)
    }

    pub(super) fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        snapshot(&self.tree())
    }
}

fn run_apply(dir: &Path, edits: &[Edit]) -> crate::Result<Vec<String>> {
    let root = Root::open(&dir.join("tree"))?;
    let mut journal = Journal::open(&dir.join("fixes"), &root)?;
    Ok(apply(&root, edits, &mut journal)?.changed)
}

fn run_undo(dir: &Path, force: Force) -> crate::Result<Option<super::Undone>> {
    let root = Root::open(&dir.join("tree"))?;
    match Journal::open_existing(&dir.join("fixes"), &root)? {
        None => Ok(None),
        Some(journal) => undo(&root, journal, force).map(Some),
    }
}

/// All that a tree has, but for the times of directories.
fn snapshot(tree: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut paths = vec![tree.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut line = format!("{:o} {}:{} ", meta.mode(), meta.uid(), meta.gid());
        if meta.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            below.sort();
            paths.extend(below);
        } else {
            let twin = first.entry(meta.ino()).or_insert_with(|| path.clone());
            line += &format!(
                "{}.{} {} {} {:?} ",
                meta.mtime(),
                meta.mtime_nsec(),
                meta.rdev(),
                meta.nlink(),
                twin.strip_prefix(tree).unwrap()
            );
        }
        if meta.is_file() {
            line += &format!("{:?} ", fs::read(&path).unwrap());
        } else if meta.is_symlink() {
            line += &format!("{:?} ", fs::read_link(&path).unwrap());
        }
        let mut names = [0; 4096];
        let length = llistxattr(&path, &mut names[..]).unwrap();
        for name in names[..length].split(|byte| *byte == 0) {
            if !name.is_empty() {
                let mut value = [0; 4096];
                let length = lgetxattr(&path, name, &mut value[..]).unwrap();
                line += &format!("{name:?}={:?} ", &value[..length]);
            }
        }
        found.insert(path.strip_prefix(tree).unwrap().to_owned(), line);
    }
    found
}

pub(super) fn edit(path: &str, change: Change) -> Edit {
    Edit {
        path: path.into(),
        change,
        why: String::new(),
    }
}

fn text(text: &str) -> Change {
    Change::Write {
        text: text.into(),
        mode: None,
    }
}

/// Each kind of change on each kind of thing.
pub(super) fn edits() -> Vec<Edit> {
    let link = |to: &str| Change::Link { to: to.into() };
    vec![
        edit("/etc/shadow", text("root::\n")),
        edit("/etc/inittab", text("new\n")),
        edit(
            "/etc/inittab",
            Change::Write {
                text: "newer\n".into(),
                mode: Some(0o600),
            },
        ),
        edit("/etc/new/way/to/file", text("made\n")),
        edit("/etc/link", link("shadow")),
        edit("/etc/other-twin", text("no twin\n")),
        edit("/etc/made", Change::Directory { mode: 0o1777 }),
        edit("/bin/su", Change::Owner { uid: 0, gid: 0 }),
        edit("/bin/su", Change::Mode { mode: 0o4755 }),
        edit("/bin/ping", Change::Owner { uid: 1, gid: 1 }),
        edit("/etc", Change::Mode { mode: 0o700 }),
        edit("/etc/dir", Change::Remove),
        edit("/etc/dir", link("/usr/lib/dir")),
        edit("/bin/link", link("ping")),
        edit("/bin/link", text("a file now\n")),
        edit("/bin/link", Change::Remove),
        edit("/nothing/here", Change::Remove),
    ]
}

#[test]
fn edits_are_made_once_and_undone_to_the_byte() {
    let case = Case::new();
    let before = case.snapshot();
    let changed = case.apply(&edits()).unwrap();
    assert!(changed.contains(&"/etc/new/way".to_owned()), "{changed:?}");
    let tree = case.tree();
    let is = |path: &str| {
        let found = fs::symlink_metadata(tree.join(path)).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(
        fs::read_to_string(tree.join("etc/shadow")).unwrap(),
        "root::\n"
    );
    assert_eq!(is("etc/shadow"), (0o640, 0, 42));
    assert_eq!(is("etc/inittab"), (0o600, 0, 0));
    assert_eq!(is("bin/su"), (0o4755, 0, 0));
    assert_eq!(is("bin/ping"), (0o755, 1, 1));
    assert_eq!(is("etc/made"), (0o1777, 0, 0));
    assert_eq!(is("etc/link").1, 3);
    let mut capability = [0; 64];
    let length = lgetxattr(
        tree.join("bin/ping"),
        "security.capability",
        &mut capability[..],
    );
    assert_eq!(&capability[..length.unwrap()], CAPABILITY);
    assert_eq!(
        fs::read_link(tree.join("etc/dir")).unwrap(),
        Path::new("/usr/lib/dir")
    );
    let after = case.snapshot();

    // Those that mean a later state than the one they find are the exception.
    let again: Vec<Edit> = edits()
        .into_iter()
        .filter(|edit| !["/etc/inittab", "/etc/dir", "/bin/link"].contains(&edit.path.as_str()))
        .collect();
    assert_eq!(case.apply(&again).unwrap(), Vec::<String>::new());
    assert_eq!(case.snapshot(), after);

    let undone = case.undo(Force::No).unwrap().unwrap();
    assert!(undone.left.is_empty());
    assert_eq!(case.snapshot(), before);
    assert_eq!(case.undo(Force::No).unwrap(), None);
    assert_eq!(fs::read_dir(case.fixes()).unwrap().count(), 0);
}

#[test]
fn several_fixes_are_undone_together() {
    let case = Case::new();
    let before = case.snapshot();
    case.apply(&edits()).unwrap();
    case.apply(&[
        edit("/etc/shadow", text("second\n")),
        edit("/etc/new", Change::Remove),
        edit("/etc/new/other", text("x")),
    ])
    .unwrap();
    // A tree may be moved between the two.
    let moved = case.dir.path().join("moved");
    fs::rename(case.tree(), &moved).unwrap();
    let root = Root::open(&moved).unwrap();
    let journal = Journal::open_existing(&case.fixes(), &root)
        .unwrap()
        .unwrap();
    undo(&root, journal, Force::No).unwrap();
    assert_eq!(snapshot(&moved), before);
}

#[test]
fn all_names_of_one_file_come_back_as_one() {
    let case = Case::new();
    let before = case.snapshot();
    case.apply(&[
        edit("/etc/dir/twin", Change::Remove),
        edit("/etc/other-twin", Change::Remove),
    ])
    .unwrap();
    case.undo(Force::No).unwrap();
    assert_eq!(case.snapshot(), before);
}

#[test]
fn what_others_changed_is_not_undone() {
    let case = Case::new();
    case.apply(&edits()).unwrap();
    let tree = case.tree();
    fs::write(tree.join("etc/shadow"), "by hand\n").unwrap();
    fs::write(tree.join("etc/made/guest"), "by hand\n").unwrap();
    fs::set_permissions(tree.join("bin/su"), PermissionsExt::from_mode(0o700)).unwrap();
    let changed = case.snapshot();
    match case.undo(Force::No) {
        Err(Error::Changed { paths }) => {
            assert_eq!(paths, ["/bin/su", "/etc/made/guest", "/etc/shadow"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(case.snapshot(), changed);
    let undone = case.undo(Force::Yes).unwrap().unwrap();
    assert_eq!(undone.left, ["/etc/made"]);
    assert_eq!(
        fs::read_to_string(tree.join("etc/shadow")).unwrap(),
        "root:*:\n"
    );
    assert_eq!(
        fs::read_to_string(tree.join("etc/made/guest")).unwrap(),
        "by hand\n"
    );
    assert_eq!(fs::metadata(tree.join("bin/su")).unwrap().uid(), 1000);
}

/// Not a test of its own: what the next one starts and kills.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("REPOT_TEST_DIR") else {
        return;
    };
    match std::env::var("REPOT_TEST_WORK").unwrap().as_str() {
        "apply" => drop(run_apply(Path::new(&dir), &edits()).unwrap()),
        _ => drop(run_undo(Path::new(&dir), Force::No).unwrap()),
    }
}

/// Whether it got to its end.
fn killed_at(case: &Case, work: &str, step: u32) -> bool {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fix::tests::child", "--test-threads=1"])
        .env("REPOT_TEST_DIR", case.dir.path())
        .env("REPOT_TEST_WORK", work)
        .env("REPOT_TEST_DIE_AT", step.to_string())
        .output()
        .unwrap();
    assert!(
        done.status.success() || done.status.code().is_none(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    done.status.success()
}

#[test]
fn killed_at_any_step_it_is_undone_all_the_same() {
    let mut steps = 0;
    loop {
        let case = Case::new();
        let before = case.snapshot();
        let is_whole = killed_at(&case, "apply", steps);
        case.undo(Force::No).unwrap();
        assert_eq!(case.snapshot(), before, "killed at step {steps}");
        if is_whole {
            break;
        }
        if steps % 5 == 0 {
            // Whoever mends it once more before it is undone gets it whole.
            killed_at(&case, "apply", steps);
            case.apply(&edits()).unwrap();
            case.undo(Force::No).unwrap();
            assert_eq!(case.snapshot(), before, "{steps}, mended again");
        }
        steps += 1;
    }
    assert!(steps > 100, "only {steps} steps");
}

#[test]
fn killed_while_undoing_it_is_undone_by_the_next() {
    let mut steps = 0;
    loop {
        let case = Case::new();
        let before = case.snapshot();
        case.apply(&edits()).unwrap();
        let is_whole = killed_at(&case, "undo", steps);
        case.undo(Force::No).unwrap();
        assert_eq!(case.snapshot(), before, "killed at step {steps}");
        if is_whole {
            break;
        }
        steps += 1;
    }
    assert!(steps > 60, "only {steps} steps");
}

/// Every path that is written, and every directory on the way, as something else.
#[test]
fn hostile_trees_are_refused_or_mended_but_never_left() {
    for place in ["etc/shadow", "etc/inittab", "etc", "etc/dir", "bin/su"] {
        for kind in [
            "link",
            "absolute",
            "fifo",
            "device",
            "directory",
            "sparse",
            "socket",
        ] {
            let case = Case::new();
            let outside = case.dir.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("shadow"), "host").unwrap();
            let path = case.tree().join(place);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let special = |kind, device| {
                mknodat(rustix::fs::CWD, &path, kind, Mode::RUSR, device).unwrap();
            };
            match kind {
                "link" => symlink("../../outside/shadow", &path).unwrap(),
                "absolute" => symlink(&outside, &path).unwrap(),
                "fifo" => special(FileType::Fifo, 0),
                "device" => special(FileType::CharacterDevice, 0x501),
                "directory" => fs::create_dir_all(path.join("with/something")).unwrap(),
                "socket" => special(FileType::Socket, 0),
                _ => fs::File::create(&path).unwrap().set_len(4 << 30).unwrap(),
            }
            // Its size alone would take the comparison a minute.
            let comparable = kind != "sparse";
            let before = comparable.then(|| case.snapshot());
            let host = snapshot(&outside);
            for edit in edits() {
                let _ = case.apply(std::slice::from_ref(&edit));
            }
            case.undo(Force::No).unwrap();
            assert_eq!(snapshot(&outside), host, "{place} as {kind}");
            if let Some(before) = before {
                assert_eq!(case.snapshot(), before, "{place} as {kind}");
            }
        }
    }
}

#[test]
fn two_commands_do_not_mix() {
    let case = Case::new();
    let root = Root::open(&case.tree()).unwrap();
    let _held = Journal::open(&case.fixes(), &root).unwrap();
    assert!(matches!(case.apply(&edits()), Err(Error::Busy { .. })));
    assert!(matches!(case.undo(Force::No), Err(Error::Busy { .. })));
}

#[test]
fn mounts_in_a_tree_are_not_entered() {
    let case = Case::new();
    let script = format!(
        "mount -t tmpfs none {0}/etc/dir && exec \"$0\" \"$@\"",
        case.tree().display()
    );
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "fix::tests::refused_by_a_mount"])
        .env("REPOT_TEST_MOUNTED", case.dir.path())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
}

/// Not a test of its own.
#[test]
fn refused_by_a_mount() {
    let Some(dir) = std::env::var_os("REPOT_TEST_MOUNTED") else {
        return;
    };
    let refused = run_apply(Path::new(&dir), &[edit("/etc/dir/file", text("x"))]);
    assert!(matches!(refused, Err(Error::Escape { .. })), "{refused:?}");
}
