//! Layers of edits above small trees: what they hold, and what overlayfs makes of them. They need root, for owners.

use super::write;
use crate::{Error, RootRead};
use repot_model::{Change, Edit};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// `VFS_CAP_REVISION_2`, effective, with CAP_NET_RAW (linux/capability.h).
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Version 2; owner rw, user 7 r, group r, mask r, others none (linux/posix_acl_xattr.h).
const ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, //
    2, 0, 4, 0, 7, 0, 0, 0, //
    4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, //
    16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, //
    32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

struct Case {
    _dir: tempfile::TempDir,
    tree: PathBuf,
    layer: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("etc/deep/er")).unwrap();
        fs::write(tree.join("etc/shadow"), "root:*:\n").unwrap();
        fs::write(tree.join("etc/deep/a"), "a").unwrap();
        fs::write(tree.join("etc/deep/er/b"), "b").unwrap();
        symlink("shadow", tree.join("etc/link")).unwrap();
        let set = |name: &str, mode: u32, uid: u32, gid: u32| {
            lchown(tree.join(name), Some(uid), Some(gid)).unwrap();
            fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        set("etc", 0o751, 3, 4);
        set("etc/deep", 0o2770, 5, 6);
        set("etc/shadow", 0o640, 1, 42);
        let layer = dir.path().join("layer");
        Self {
            _dir: dir,
            tree,
            layer,
        }
    }

    fn write(&self, edits: &[(&str, Change)]) -> crate::Result<()> {
        let edits: Vec<Edit> = edits
            .iter()
            .map(|(path, change)| Edit {
                path: (*path).into(),
                change: change.clone(),
                why: String::new(),
            })
            .collect();
        write(&RootRead::open(&self.tree).unwrap(), &edits, &self.layer)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.layer.join(path)
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let found = fs::symlink_metadata(self.at(path)).unwrap();
        found.file_type().is_char_device() && found.rdev() == 0
    }
}

fn text(text: &str) -> Change {
    Change::Write {
        text: text.into(),
        mode: None,
    }
}

/// Mode, owner, group.
fn of(path: &Path) -> (u32, u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.mode() & 0o7777, found.uid(), found.gid())
}

fn xattr(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 256];
    let length = getxattr(path, name, &mut value[..]).unwrap();
    value.truncate(length);
    value
}

#[test]
fn a_file_keeps_what_it_has_besides_its_content() {
    let case = Case::new();
    let shadow = case.tree.join("etc/shadow");
    for (name, value) in [
        ("security.capability", CAPABILITY),
        ("system.posix_acl_access", ACL),
        ("user.note", b"kept"),
        ("user.overlay.whiteout", b"y"),
    ] {
        setxattr(&shadow, name, value, XattrFlags::empty()).unwrap();
    }
    case.write(&[
        ("/etc/shadow", text("root::\n")),
        ("/etc/deep/new", text("n")),
        ("/made/on/the/way", text("w")),
    ])
    .unwrap();
    let laid = case.at("etc/shadow");
    assert_eq!(fs::read_to_string(&laid).unwrap(), "root::\n");
    assert_eq!(of(&laid), (0o640, 1, 42));
    assert_eq!(xattr(&laid, "security.capability"), CAPABILITY);
    assert_eq!(xattr(&laid, "system.posix_acl_access"), ACL);
    assert_eq!(xattr(&laid, "user.note"), b"kept");
    assert!(getxattr(&laid, "user.overlay.whiteout", &mut [0; 9][..]).is_err());
    // Directories lend their attributes to what is seen.
    assert_eq!(of(&case.at("etc")), (0o751, 3, 4));
    assert_eq!(of(&case.at("etc/deep")), (0o2770, 5, 6));
    assert_eq!(of(&case.at("etc/deep/new")), (0o644, 0, 0));
    assert_eq!(of(&case.at("made/on/the")), (0o755, 0, 0));
    assert_eq!(fs::read_to_string(&shadow).unwrap(), "root:*:\n");
}

#[test]
fn later_edits_see_earlier_ones() {
    let case = Case::new();
    let mode = |mode| Change::Mode { mode };
    case.write(&[
        ("/etc/shadow", Change::Owner { uid: 8, gid: 9 }),
        ("/etc/shadow", text("x")),
        ("/etc/deep/a", mode(0o4755)),
        ("/etc/deep/a", Change::Owner { uid: 1, gid: 1 }),
        ("/etc/new", Change::Directory { mode: 0o700 }),
        ("/etc/new/file", text("1")),
        ("/etc/new/file", Change::Remove),
        ("/etc/new/file", Change::Link { to: "/tmp".into() }),
        ("/etc/deep/er", mode(0o711)),
    ])
    .unwrap();
    assert_eq!(of(&case.at("etc/shadow")), (0o640, 8, 9));
    assert_eq!(fs::read_to_string(case.at("etc/shadow")).unwrap(), "x");
    // chown(2) clears set-id bits; the edit's are meant to stay.
    assert_eq!(of(&case.at("etc/deep/a")), (0o4755, 1, 1));
    assert_eq!(fs::read_to_string(case.at("etc/deep/a")).unwrap(), "a");
    assert_eq!(
        fs::read_link(case.at("etc/new/file")).unwrap(),
        Path::new("/tmp")
    );
    assert_eq!(of(&case.at("etc/deep/er")), (0o711, 0, 0));
}

#[test]
fn what_is_removed_is_hidden() {
    let case = Case::new();
    case.write(&[
        ("/etc/link", Change::Remove),
        ("/etc/deep", Change::Remove),
        ("/etc/deep/er/new", text("n")),
        ("/nowhere/at/all", Change::Remove),
        ("/etc/deep/gone", Change::Remove),
    ])
    .unwrap();
    assert!(case.is_whiteout("etc/link"));
    // The directory is another one now, and shows nothing of the tree's.
    assert!(case.is_whiteout("etc/deep/a"));
    assert!(case.is_whiteout("etc/deep/er/b"));
    assert_eq!(of(&case.at("etc/deep")), (0o755, 0, 0));
    assert!(!case.at("nowhere").exists());
    assert!(fs::symlink_metadata(case.at("etc/deep/gone")).is_err());
}

#[test]
fn nothing_is_written_through_links() {
    let case = Case::new();
    let outside = case.layer.with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    let to = outside.display().to_string();
    symlink(&outside, case.tree.join("out")).unwrap();
    for edits in [
        vec![("/out/x", text("x"))],
        vec![
            ("/etc/to", Change::Link { to: to.clone() }),
            ("/etc/to/x", text("x")),
        ],
        vec![("/etc/../../x", text("x"))],
        vec![("etc/x", text("x"))],
        vec![("/", Change::Remove)],
    ] {
        assert!(case.write(&edits).is_err(), "{edits:?}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // A link at the end is replaced, or becomes the layer's own.
    case.write(&[("/out", text("x"))]).unwrap();
    assert_eq!(fs::read_to_string(case.at("out")).unwrap(), "x");
    case.write(&[("/out", Change::Owner { uid: 5, gid: 5 })])
        .unwrap();
    assert_eq!(of(&case.at("out")).1, 5);
    assert_eq!(of(&outside).1, 0);
}

#[test]
fn strange_files_are_refused_without_being_opened() {
    let case = Case::new();
    let made = std::process::Command::new("mkfifo")
        .arg(case.tree.join("fifo"))
        .status();
    assert!(made.unwrap().success());
    let huge = fs::File::create(case.tree.join("huge")).unwrap();
    huge.set_len(4 << 30).unwrap();
    let mode = Change::Mode { mode: 0o600 };
    assert!(matches!(
        case.write(&[("/fifo", mode.clone())]),
        Err(Error::NotRegular { .. })
    ));
    assert!(matches!(
        case.write(&[("/huge", mode.clone())]),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        case.write(&[("/none", mode)]),
        Err(Error::NotFound { .. })
    ));
    // Content replaces whatever there is.
    let over = [
        ("/fifo", text("x")),
        ("/huge", text("y")),
        ("/etc/deep", text("z")),
    ];
    case.write(&over).unwrap();
    assert!(case.at("etc/deep").is_file());
    assert_eq!(fs::read_to_string(case.at("fifo")).unwrap(), "x");
    assert_eq!(fs::read_to_string(case.at("huge")).unwrap(), "y");
}

/// Both ways in which machines mount it: by the host's root, and without privilege over the file system.
#[test]
fn the_kernel_sees_what_is_meant() {
    let case = Case::new();
    case.write(&[
        ("/etc/shadow", text("laid\n")),
        ("/etc/link", Change::Remove),
        ("/etc/deep", Change::Remove),
        ("/etc/deep/er/new", text("n")),
    ])
    .unwrap();
    let at = case.layer.with_file_name("at");
    fs::create_dir(&at).unwrap();
    for options in ["", ",userxattr"] {
        let script = format!(
            "mount -t tmpfs none {} && cd {0} && mkdir up work at \
             && mount -t overlay -o lowerdir={}:{},upperdir=up,workdir=work{options} none at && cd at \
             && stat -c '%n %a %u:%g' etc etc/shadow && cat etc/shadow && find . -mindepth 1 | sort",
            at.display(),
            case.layer.display(),
            case.tree.display()
        );
        let done = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&done.stdout),
            "etc 751 3:4\netc/shadow 640 1:42\nlaid\n./etc\n./etc/deep\n./etc/deep/er\n./etc/deep/er/new\n./etc/shadow\n",
            "{options}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}
