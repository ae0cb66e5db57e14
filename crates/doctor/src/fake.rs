//! Tests only: small trees in a temporary directory, with ELF files that the kernel would take for programs.

#![allow(
    clippy::disallowed_methods,
    reason = "tests write the trees that the crate reads"
)]

use crate::rules::Wishes;
use crate::{diagnose, inspect, needs};
use repot_model::{
    Change, Edit, Facts, Finding, InitFacts, Needs, OfferedTerminal, Offers, StopOffer,
};
use repot_rootfs::RootRead;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// A tree under construction.
pub(crate) struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A text file.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let place = self.place(path);
        fs::write(place, content).unwrap();
        self
    }

    /// An executable text file.
    pub(crate) fn script(self, path: &str, content: &str) -> Self {
        let place = self.place(path);
        fs::write(&place, content).unwrap();
        fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    /// A static x86-64 program that holds a text.
    pub(crate) fn elf(self, path: &str, text: &str) -> Self {
        let place = self.place(path);
        let mut bytes = elf_header(0);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        fs::write(&place, bytes).unwrap();
        fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    /// An x86-64 program that wants a dynamic loader.
    pub(crate) fn dynamic_elf(self, path: &str, loader: &str) -> Self {
        let place = self.place(path);
        let mut bytes = elf_header(1);
        let mut entry = vec![0; 56];
        entry[0] = 3;
        entry[8] = 120;
        entry[32] = u8::try_from(loader.len() + 1).unwrap();
        bytes.append(&mut entry);
        bytes.extend_from_slice(loader.as_bytes());
        bytes.push(0);
        fs::write(&place, bytes).unwrap();
        fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    pub(crate) fn link(self, path: &str, to: &str) -> Self {
        symlink(to, self.place(path)).unwrap();
        self
    }

    /// A FIFO: whoever opens it for reading waits for ever.
    pub(crate) fn fifo(self, path: &str) -> Self {
        let status = std::process::Command::new("mkfifo")
            .arg(self.place(path))
            .status();
        assert!(status.unwrap().success());
        self
    }

    /// A file of a terabyte, nearly all of it a hole.
    pub(crate) fn huge(self, path: &str) -> Self {
        fs::File::create(self.place(path))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.dir.path().join(path.trim_start_matches('/'))).unwrap();
        self
    }

    /// The content of a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path.trim_start_matches('/'))).unwrap()
    }

    pub(crate) fn root(&self) -> RootRead {
        RootRead::open(self.dir.path()).unwrap()
    }

    pub(crate) fn facts(&self) -> Facts {
        inspect(&self.root()).unwrap()
    }

    pub(crate) fn init(&self) -> InitFacts {
        self.facts().init.unwrap()
    }

    pub(crate) fn needs(&self) -> Needs {
        needs(&self.facts()).unwrap()
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }
}

fn elf_header(headers: u8) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (head[16], head[18], head[32], head[54], head[56]) = (2, 62, 64, 56, headers);
    head
}

/// The terminals of an init's gettys with what answers there, for comparison.
pub(crate) fn ttys(init: &InitFacts) -> Vec<(&str, repot_model::GettyKind)> {
    init.gettys
        .iter()
        .map(|getty| (getty.tty.as_str(), getty.kind))
        .collect()
}

/// An engine that gives everything: no rule about engines has anything to say. Tests take away what they are about.
pub(crate) fn offers() -> Offers {
    Offers::everything()
}

/// An engine with a bare console and nobody of repot's beside it.
pub(crate) fn bare_offers() -> Offers {
    Offers {
        console: OfferedTerminal {
            device: "console".into(),
            login_name: "pts/0".into(),
        },
        terminals: Vec::new(),
        tty1_is_console: false,
        makes_missing_terminals: false,
        serves_silent_console: false,
        stop: StopOffer::AnySignal,
        ..offers()
    }
}

/// What one rule finds in a tree.
pub(crate) fn diagnose_for(tree: &Tree, offers: &Offers, rule: &str) -> Vec<Finding> {
    diagnose_with(tree, offers, &Wishes::default(), rule)
}

/// What one rule finds, which its edits then mend: written into the tree, they leave it with nothing to say.
pub(crate) fn mended(tree: &Tree, offers: &Offers, rule: &str) -> Vec<Finding> {
    let found = diagnose_for(tree, offers, rule);
    assert!(!found.is_empty(), "{rule} finds nothing");
    for finding in &found {
        assert!(!finding.edits.is_empty(), "no edits: {finding:?}");
        tree.apply(&finding.edits);
    }
    let again = diagnose_for(tree, offers, rule);
    assert!(again.is_empty(), "{again:?}");
    found
}

/// The same with wishes.
pub(crate) fn diagnose_with(
    tree: &Tree,
    offers: &Offers,
    wishes: &Wishes,
    rule: &str,
) -> Vec<Finding> {
    let diagnosis = diagnose(&tree.root(), &tree.facts(), offers, wishes, &|_| true);
    assert!(diagnosis.unchecked.is_empty(), "{:?}", diagnosis.unchecked);
    let mut found = diagnosis.findings;
    found.retain(|finding| finding.rule.0 == rule);
    found
}

/// What a rule finds goes away once its edits are written into the tree, and comes neither back nor with others of that rule.
pub(crate) fn mends(tree: &Tree, offers: &Offers, wishes: &Wishes, rule: &str) {
    let found = diagnose_with(tree, offers, wishes, rule);
    let edits: Vec<Edit> = found.iter().flat_map(|found| found.edits.clone()).collect();
    assert!(!edits.is_empty(), "{rule} edits nothing: {found:#?}");
    let copy = tree.copy();
    copy.apply(&edits);
    let left = diagnose_with(&copy, offers, wishes, rule);
    assert!(left.is_empty(), "{rule} is not content: {left:#?}");
}

impl Tree {
    /// Permission bits of a file.
    pub(crate) fn mode(self, path: &str, mode: u32) -> Self {
        let place = self.place(path);
        fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    /// The same tree again, to be changed.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        let status = std::process::Command::new("cp")
            .arg("-a")
            .arg(self.dir.path().join("."))
            .arg(copy.dir.path())
            .status();
        assert!(status.unwrap().success());
        copy
    }

    /// Writes edits into the tree, as `fix` would.
    pub(crate) fn apply(&self, edits: &[Edit]) {
        edits.iter().for_each(|edit| self.apply_one(edit));
    }

    /// An edit has no symlinks in its directory.
    fn apply_one(&self, edit: &Edit) {
        let place = self.place(&edit.path);
        let kind = fs::symlink_metadata(&place).map(|found| found.file_type());
        let remove = || match &kind {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&place).unwrap(),
            Ok(_) => fs::remove_file(&place).unwrap(),
            Err(_) => {}
        };
        let set = |mode: u32| fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
        match &edit.change {
            Change::Write { text, mode } => {
                if !kind.as_ref().is_ok_and(fs::FileType::is_file) {
                    remove();
                }
                fs::write(&place, text).unwrap();
                mode.iter().copied().for_each(set);
            }
            Change::Link { to } => {
                remove();
                symlink(to, &place).unwrap();
            }
            Change::Directory { mode } => {
                if !place.is_dir() {
                    remove();
                    fs::create_dir_all(&place).unwrap();
                    set(*mode);
                }
            }
            Change::Remove => remove(),
            Change::Mode { mode } => set(*mode),
            Change::Owner { uid, gid } => {
                std::os::unix::fs::lchown(&place, Some(*uid), Some(*gid)).unwrap();
            }
        }
    }
}
