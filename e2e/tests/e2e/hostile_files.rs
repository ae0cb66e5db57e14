//! Trees of which a file that `doctor` and `fix` look at is something else: a link out of the tree, a FIFO, a device, a directory, 4 GiB
//! of nothing. Nobody who looks at such a tree waits for ever, ends in a crash, or reads or writes a file of the host.
//! `REPOT_TEST_EVERY_KIND=1` puts each of them in each place.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use repot_e2e::digest::digest;
use repot_e2e::process::Done;
use repot_e2e::trees::{PASSWORD_HASH, Tree};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::sandbox::{Sandbox, utf8};

/// In a file of the host that nobody has any business with.
const SECRET: &str = "of the host: 4711";

/// What stands in the place of a file.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A link to the host's file, by its path on the host.
    Absolute,
    /// The same, up from where it is.
    Relative,
    /// A link to itself.
    Loop,
    Fifo,
    /// `/dev/zero`, which can be read for ever.
    Zero,
    Directory,
    Sparse,
}

const KINDS: [Kind; 7] = [
    Kind::Absolute,
    Kind::Relative,
    Kind::Loop,
    Kind::Fifo,
    Kind::Zero,
    Kind::Directory,
    Kind::Sparse,
];

/// Files that are written although they are not there, or that only some trees have.
const MORE: &[&str] = &[
    "etc/default/locale",
    "etc/fstab",
    "etc/hostname",
    "etc/hosts",
    "etc/inittab",
    "etc/locale.conf",
    "etc/machine-id",
    "etc/mtab",
    "etc/network/interfaces",
    "etc/nologin",
    "etc/os-release",
    "etc/pam.d/login",
    "etc/passwd",
    "etc/rc.conf",
    "etc/resolv.conf",
    "etc/securetty",
    "etc/security/limits.conf",
    "etc/selinux/config",
    "etc/shadow",
    "etc/systemd/system",
    "sbin/init",
];

struct Victim {
    sandbox: Sandbox,
    tree: PathBuf,
    canary: PathBuf,
}

impl Victim {
    fn new(name: &str) -> Result<Victim> {
        let sandbox = Sandbox::new()?;
        let tree = sandbox.dir().join("tree");
        Tree::named(name)?.copy_to(&tree)?;
        let canary = sandbox.dir().join("canary");
        fs::write(&canary, SECRET)?;
        forget_reads(&canary)?;
        Ok(Victim {
            sandbox,
            tree,
            canary,
        })
    }

    /// Paths that are looked at: the kernel notes when a file or link was last read, if only since it was changed (`relatime` of
    /// mount(8)).
    fn looked_at(&self) -> Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        let mut todo = vec![self.tree.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => todo.push(entry.path()),
                    false => all.push(entry.path()),
                }
            }
        }
        all.iter().try_for_each(|path| forget_reads(path))?;
        for words in [["doctor", "--for", "all"], ["fix", "--for", "nspawn"]] {
            let tree = utf8(&self.tree)?;
            let done = self.sandbox.repot(&[words[0], &tree, words[1], words[2]])?;
            ensure!(done.code <= 1, "{done}");
        }
        self.undo()?;
        let mut seen = Vec::new();
        for path in all {
            // A file that was written and put back is another one.
            if fs::symlink_metadata(&path)?.atime() != 0 {
                seen.push(path.strip_prefix(&self.tree)?.to_owned());
            }
        }
        ensure!(
            seen.iter().any(|path| path == Path::new("etc/passwd")),
            "the file system does not note what is read: {seen:?}"
        );
        seen.extend(MORE.iter().map(PathBuf::from));
        seen.sort();
        seen.dedup();
        Ok(seen)
    }

    fn undo(&self) -> Result<()> {
        let tree = utf8(&self.tree)?;
        let done = self.sandbox.repot(&["fix", &tree, "--undo"])?;
        ensure!(matches!(done.code, 0 | 3), "{done}");
        Ok(())
    }

    fn put(&self, kind: Kind, place: &Path) -> Result<()> {
        match kind {
            Kind::Absolute => symlink(&self.canary, place)?,
            Kind::Relative => {
                let up = "../".repeat(place.components().count());
                symlink(format!("{up}{}", self.canary.display()), place)?;
            }
            Kind::Loop => symlink(place.file_name().context("reading a name")?, place)?,
            Kind::Fifo => {
                rustix::fs::mknodat(CWD, place, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
            }
            Kind::Zero => rustix::fs::mknodat(
                CWD,
                place,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                rustix::fs::makedev(1, 5),
            )?,
            Kind::Directory => fs::create_dir(place)?,
            Kind::Sparse => File::create(place)?.set_len(4 << 30)?,
        }
        Ok(())
    }

    /// Looks at the tree and mends it with something else at this path, and puts all back.
    fn suffers(&self, path: &Path, kind: Kind) -> Result<()> {
        let place = self.tree.join(path);
        let aside = self.sandbox.dir().join("aside");
        // What leads there may be a link in the tree, whose target on the host would be another file.
        let parent = place.parent().context("reading a path")?;
        if fs::canonicalize(parent).is_ok_and(|real| !real.starts_with(&self.tree)) {
            return Ok(());
        }
        let was_there = fs::symlink_metadata(&place).is_ok();
        match was_there {
            true => fs::rename(&place, &aside)?,
            false if parent.is_dir() => {}
            false => return Ok(()),
        }
        self.put(kind, &place)?;
        let tree = utf8(&self.tree)?;
        let wish = ["--root-password-hash", PASSWORD_HASH, "--autologin"];
        let fix = [&["fix", &tree, "--for", "nspawn"], &wish[..]].concat();
        self.run(&["doctor", &tree, "--for", "nspawn"])?;
        if self.run(&fix)?.code <= 1 {
            self.undo()?;
        }
        if matches!(kind, Kind::Directory) {
            fs::remove_dir_all(&place)?;
        } else {
            fs::remove_file(&place)?;
        }
        if was_there {
            fs::rename(&aside, &place)?;
        }
        Ok(())
    }

    fn run(&self, words: &[&str]) -> Result<Done> {
        let done = self.sandbox.repot(words)?;
        ensure!((0..=3).contains(&done.code), "{words:?}: {done}");
        let said = format!("{}{}", done.out(), done.err());
        ensure!(!said.contains("4711"), "{words:?} shows it: {done}");
        let canary = fs::metadata(&self.canary)?;
        ensure!(
            canary.atime() == 0,
            "{words:?} has read a file of the host: {done}"
        );
        ensure!(
            fs::symlink_metadata(&self.canary)?.is_file() && canary.len() == SECRET.len() as u64
        );
        Ok(done)
    }
}

/// Makes the kernel note the next read of a file or link.
fn forget_reads(path: &Path) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("setting the times of {}", path.display()))
}

fn each_file_in(name: &str) -> Result<()> {
    let victim = Victim::new(name)?;
    let paths = victim.looked_at()?;
    let before = digest(&victim.tree)?;
    // All of them take minutes: each path is two things, and each thing stands in many places.
    let is_patient = std::env::var_os("REPOT_TEST_EVERY_KIND").is_some();
    for (number, path) in paths.iter().enumerate() {
        let some = [
            KINDS[number % KINDS.len()],
            KINDS[(number + 3) % KINDS.len()],
        ];
        for kind in if is_patient { &KINDS[..] } else { &some } {
            victim
                .suffers(path, *kind)
                .with_context(|| format!("{} as {kind:?}", path.display()))?;
        }
    }
    ensure!(
        digest(&victim.tree)? == before,
        "the tree is not what it was"
    );
    ensure!(fs::read_to_string(&victim.canary)? == SECRET);
    victim.sandbox.finish()
}

#[test]
fn each_file_in_a_busybox_tree() -> Result<()> {
    each_file_in("busybox-alpine")
}

#[test]
fn each_file_in_a_sysvinit_tree() -> Result<()> {
    each_file_in("bookworm-sysvinit")
}
