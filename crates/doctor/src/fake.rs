//! Tests only: small trees in a temporary directory, with ELF files that the kernel would take for programs.

#![allow(
    clippy::disallowed_methods,
    reason = "tests write the trees that the crate reads"
)]

use crate::rules::Wishes;
use crate::{diagnose, inspect, needs};
use repot_model::{
    EngineId, Facts, Finding, InitFacts, Needs, OfferedTerminal, Offers, ProgramOffer, Resolver,
    StopOffer,
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

    /// Writes edits into the tree, as `fix` would.
    pub(crate) fn apply(&self, edits: &[repot_model::Edit]) {
        use repot_model::Change;
        for edit in edits {
            let place = self.place(&edit.path);
            let is_link = fs::symlink_metadata(&place).is_ok_and(|seen| seen.is_symlink());
            match &edit.change {
                Change::Write { text, mode } => {
                    assert!(!is_link, "{} is a link", edit.path);
                    fs::write(&place, text).unwrap();
                    if let Some(mode) = mode {
                        fs::set_permissions(&place, PermissionsExt::from_mode(*mode)).unwrap();
                    }
                }
                Change::Link { to } => {
                    let _ = fs::remove_file(&place);
                    symlink(to, &place).unwrap();
                }
                Change::Directory { .. } => fs::create_dir_all(&place).unwrap(),
                Change::Remove if place.is_dir() && !is_link => {
                    fs::remove_dir_all(&place).unwrap();
                }
                Change::Remove => fs::remove_file(&place).unwrap(),
                Change::Mode { mode } => {
                    fs::set_permissions(&place, PermissionsExt::from_mode(*mode)).unwrap();
                }
                Change::Owner { .. } => {}
            }
        }
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
    Offers {
        engine: EngineId("fake".into()),
        console: OfferedTerminal {
            device: "console".into(),
            login_name: "tty1".into(),
        },
        terminals: ["tty1", "tty2", "tty3", "tty4", "tty5", "tty6"]
            .map(str::to_owned)
            .to_vec(),
        tty1_is_console: true,
        makes_missing_terminals: true,
        serves_silent_console: true,
        is_pid1: true,
        program: ProgramOffer::Any,
        container: None,
        takes_env: true,
        cgroups: vec![
            repot_model::CgroupVersion::V2,
            repot_model::CgroupVersion::V1Systemd,
        ],
        capabilities: ["SYS_ADMIN", "SYS_BOOT", "SYS_RESOURCE", "AUDIT_CONTROL"]
            .map(str::to_owned)
            .to_vec(),
        stop: StopOffer::Asks,
        mounts: ["/proc", "/sys", "/dev", "/run"]
            .map(str::to_owned)
            .to_vec(),
        demands: Vec::new(),
        ids: 65536,
        raises_limits: true,
        sets_loginuid: true,
        has_keyring: true,
        sys_is_read_only: true,
        may_mount: true,
        interfaces: Vec::new(),
        resolver: Resolver::Machine,
        unprivileged: true,
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
