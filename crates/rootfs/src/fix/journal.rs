//! The journal of one tree: what each step found, and what it was going to make of it, on disk before the step is made.
//!
//! A directory per tree: `tree.json` says which, `journal` has a line of JSON per record, `old/N` is the content of the file that
//! step N replaced or removed. Records are only ever added; one that was torn by a crash is dropped, since its step was never
//! made. A tree is known by its path together with its inode, or by device and inode if it was moved.

use super::state::{Bytes, State};
use crate::write::{Content, tick};
use crate::{Error, Result, Root};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Raised when older programs could not undo what a newer one wrote.
const VERSION: u32 = 1;

/// What temporary names begin with.
const TEMP: &str = ".repot-";

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    dir: PathBuf,
    device: u64,
    inode: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub(crate) enum Record {
    /// Step `n` is about to be made.
    Begin(Box<Begin>),
    /// It was made.
    Done { n: u32 },
    /// It was taken back.
    Undone { n: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    n: u32,
    path: Bytes,
    was: State,
    will: State,
    temp: String,
}

/// A step as the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) n: u32,
    pub(crate) path: Bytes,
    pub(crate) was: State,
    pub(crate) will: State,
    /// The name under which it makes what is new.
    pub(crate) temp: String,
    pub(crate) is_done: bool,
    pub(crate) is_undone: bool,
}

impl Entry {
    /// The path in the tree, for messages.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path.0).into_owned()
    }

    /// Whether the step changes nothing but owner, mode and extended attributes: then the content was not looked at.
    pub(crate) fn is_attrs_only(&self) -> bool {
        match &self.was {
            State::Absent => false,
            State::File { sha256, .. } => sha256.is_none(),
            State::Link { .. } | State::Directory { .. } | State::Special { .. } => {
                self.was.is_alike_but_for_attrs(&self.will)
            }
        }
    }
}

/// The journal of one tree, held open by one command at a time.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    entries: Vec<Entry>,
    next: u32,
    /// Part of temporary names, so that no two commands use the same.
    tag: String,
    _lock: Lock,
}

/// The tree's root directory, with a lock on it (flock(2)), which copies of the descriptor in children would keep alive.
#[derive(Debug)]
struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // It ends with the process at the latest.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// What the bytes of a journal say: the steps, the number of the next, and how many bytes make sense. `Err`
/// has the number of the line that makes none, although others follow it.
///
/// # Errors
/// The number of that line.
pub fn parse(bytes: &[u8]) -> std::result::Result<Parsed, usize> {
    let mut parsed = Parsed::default();
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .peekable();
    while let Some((number, line)) = lines.next() {
        let record = match line.strip_suffix(b"\n").map(serde_json::from_slice) {
            Some(Ok(record)) => record,
            // Torn by a crash: its step was not made.
            Some(Err(_)) | None if lines.peek().is_none() => break,
            Some(Err(_)) | None => return Err(number + 1),
        };
        if !parsed.take(record) {
            return Err(number + 1);
        }
        parsed.length += line.len();
    }
    Ok(parsed)
}

/// What [`parse`] has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    entries: Vec<Entry>,
    next: u32,
    length: usize,
}

impl Parsed {
    fn take(&mut self, record: Record) -> bool {
        match record {
            Record::Begin(begin) => {
                let Begin {
                    n,
                    path,
                    was,
                    will,
                    temp,
                } = *begin;
                if n < self.next
                    || n == u32::MAX
                    || !temp.starts_with(TEMP)
                    || temp.contains(['/', '\0'])
                {
                    return false;
                }
                self.next = n + 1;
                self.entries.push(Entry {
                    n,
                    path,
                    was,
                    will,
                    temp,
                    is_done: false,
                    is_undone: false,
                });
            }
            Record::Done { n } => {
                for entry in self.entries.iter_mut().filter(|entry| entry.n == n) {
                    entry.is_done = true;
                }
            }
            Record::Undone { n } => {
                for entry in self.entries.iter_mut().filter(|entry| entry.n == n) {
                    entry.is_undone = true;
                }
            }
        }
        true
    }

    /// The paths of steps that are not taken back, in order.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        let entries = self.entries.iter();
        entries.filter(|entry| !entry.is_undone).map(Entry::shown)
    }
}

impl Journal {
    /// The journal of a tree below the directory `fixes`; made if there is none.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Journal`].
    pub fn open(fixes: &Path, root: &Root) -> Result<Self> {
        let lock = lock(root)?;
        let dir = match find(fixes, root)? {
            Some(dir) => dir,
            None => make(fixes, root)?,
        };
        Self::load(dir, lock)
    }

    /// The same, if there is one with something to undo.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_existing(fixes: &Path, root: &Root) -> Result<Option<Self>> {
        let lock = lock(root)?;
        let Some(dir) = find(fixes, root)? else {
            return Ok(None);
        };
        let journal = Self::load(dir, lock)?;
        if journal.entries.iter().all(|entry| entry.is_undone) {
            // The last undo was killed on its last steps.
            journal.remove()?;
            return Ok(None);
        }
        Ok(Some(journal))
    }

    fn load(dir: PathBuf, lock: Lock) -> Result<Self> {
        let path = dir.join("journal");
        let failed = |doing| failed(&path, doing);
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("opening"))?;
        let bytes = fs::read(&path).map_err(failed("reading"))?;
        let parsed = parse(&bytes).map_err(|line| {
            failed("reading")(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {line} makes no sense"),
            ))
        })?;
        if parsed.length < bytes.len() {
            file.set_len(parsed.length as u64)
                .map_err(failed("shortening"))?;
        }
        let mut random = [0u8; 6];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| failed("naming files for")(errno.into()))?;
        Ok(Self {
            dir,
            file,
            entries: parsed.entries,
            next: parsed.next,
            tag: crate::write::hex(&random),
            _lock: lock,
        })
    }

    /// All steps, oldest first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of the next step.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Takes away what steps that were killed have left under temporary names.
    pub(crate) fn sweep(&self, root: &Root) -> Result<()> {
        for entry in &self.entries {
            if entry.is_done || entry.is_undone {
                continue;
            }
            match root.spot(&entry.path.0) {
                Ok(spot) => spot.remove_temp(&entry.temp)?,
                Err(Error::NotFound { .. } | Error::NotADirectory { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is under a path, its content kept for the step of that number. It is on disk when `begin` returns.
    pub(crate) fn keep(&self, root: &Root, path: &[u8], n: u32) -> Result<State> {
        let place = self.old(n);
        let failed = |doing| failed(&place, doing);
        tick();
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&place)
            .map_err(failed("creating"))?;
        let state = root.observe(path, Content::Saved(&mut file))?;
        if matches!(state, State::File { .. }) {
            file.sync_all().map_err(failed("writing"))?;
            sync_dir(&self.dir.join("old"))?;
        } else {
            fs::remove_file(&place).map_err(failed("removing"))?;
        }
        tick();
        Ok(state)
    }

    /// Records steps that are about to be made: `path`, `was`, `will`. On disk when this returns.
    pub(crate) fn begin(&mut self, steps: Vec<(Bytes, State, State)>) -> Result<Vec<Entry>> {
        let mut begun = Vec::with_capacity(steps.len());
        for (path, was, will) in steps {
            let n = self.next;
            let entry = Entry {
                n,
                temp: format!("{TEMP}{}-{n}", self.tag),
                path,
                was,
                will,
                is_done: false,
                is_undone: false,
            };
            self.write(&Record::Begin(Box::new(Begin {
                n,
                path: entry.path.clone(),
                was: entry.was.clone(),
                will: entry.will.clone(),
                temp: entry.temp.clone(),
            })))?;
            self.next += 1;
            self.entries.push(entry.clone());
            begun.push(entry);
        }
        self.sync()?;
        Ok(begun)
    }

    pub(crate) fn done(&mut self, n: u32) -> Result<()> {
        self.write(&Record::Done { n })?;
        for entry in self.entries.iter_mut().filter(|entry| entry.n == n) {
            entry.is_done = true;
        }
        Ok(())
    }

    pub(crate) fn undone(&mut self, n: u32) -> Result<()> {
        self.write(&Record::Undone { n })?;
        for entry in self.entries.iter_mut().filter(|entry| entry.n == n) {
            entry.is_undone = true;
        }
        Ok(())
    }

    /// What a step has kept.
    pub(crate) fn kept(&self, n: u32) -> Result<File> {
        let place = self.old(n);
        File::open(&place).map_err(failed(&place, "opening"))
    }

    /// Forgets everything.
    pub(crate) fn remove(self) -> Result<()> {
        tick();
        // The records first: content without them is only rubbish, the other way round would be worse.
        let file = self.dir.join("journal");
        fs::remove_file(&file).map_err(failed(&file, "removing"))?;
        tick();
        fs::remove_dir_all(&self.dir).map_err(failed(&self.dir, "removing"))
    }

    fn old(&self, n: u32) -> PathBuf {
        self.dir.join("old").join(n.to_string())
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let failed = failed(&self.dir.join("journal"), "writing");
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        tick();
        self.file.write_all(&line).map_err(failed)
    }

    fn sync(&self) -> Result<()> {
        tick();
        self.file
            .sync_data()
            .map_err(failed(&self.dir.join("journal"), "writing"))
    }
}

fn failed(file: &Path, doing: &'static str) -> impl Fn(io::Error) -> Error + use<> {
    let file = file.to_owned();
    move |source| Error::Journal {
        file: file.clone(),
        doing,
        source,
    }
}

/// One command at a time writes to a tree.
fn lock(root: &Root) -> Result<Lock> {
    let dir = root.read().dir();
    let open = |errno: Errno| Error::Open {
        dir: dir.to_owned(),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(root.fd(), ".", flags, Mode::empty()).map_err(open)?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(fd)),
        Err(Errno::WOULDBLOCK) => Err(Error::Busy {
            dir: dir.to_owned(),
        }),
        Err(errno) => Err(open(errno)),
    }
}

/// The directory of a tree's journal, if there is one.
fn find(fixes: &Path, root: &Root) -> Result<Option<PathBuf>> {
    let entries = match fs::read_dir(fixes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(fixes, "listing")(error)),
    };
    let (device, inode) = root.identity()?;
    let path = canonical(root);
    let mut moved = None;
    for entry in entries {
        let dir = entry.map_err(failed(fixes, "listing"))?.path();
        // Half made, or half removed.
        let Ok(text) = fs::read(dir.join("tree.json")) else {
            continue;
        };
        let header: Header = serde_json::from_slice(&text)
            .map_err(|error| failed(&dir.join("tree.json"), "reading")(error.into()))?;
        if header.inode != inode {
            continue;
        }
        if header.version > VERSION {
            return Err(failed(&dir, "reading")(io::Error::new(
                io::ErrorKind::InvalidData,
                "a newer repot wrote it",
            )));
        }
        // Device numbers may change when the host is rebooted, paths when the tree is moved.
        if header.dir == path {
            return Ok(Some(dir));
        }
        if header.device == device {
            moved = Some(dir);
        }
    }
    Ok(moved)
}

fn canonical(root: &Root) -> PathBuf {
    let dir = root.read().dir();
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

fn make(fixes: &Path, root: &Root) -> Result<PathBuf> {
    let (device, inode) = root.identity()?;
    let path = canonical(root);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut number = 0;
    let dir = loop {
        let dir = fixes.join(format!("{name}-{inode:x}-{number}"));
        if !dir.exists() {
            break dir;
        }
        number += 1;
    };
    fs::create_dir_all(dir.join("old")).map_err(failed(&dir, "creating"))?;
    // Old content of /etc/shadow will be in there.
    rustix::fs::chmod(&dir, Mode::RWXU).map_err(|errno| failed(&dir, "creating")(errno.into()))?;
    let header = Header {
        version: VERSION,
        dir: path,
        device,
        inode,
    };
    let file = dir.join("tree.json");
    let text =
        serde_json::to_vec(&header).map_err(|error| failed(&file, "writing")(error.into()))?;
    let temp = dir.join("tree.json.new");
    tick();
    let mut new = File::create(&temp).map_err(failed(&temp, "creating"))?;
    new.write_all(&text)
        .and_then(|()| new.sync_all())
        .map_err(failed(&temp, "writing"))?;
    fs::rename(&temp, &file).map_err(failed(&file, "renaming"))?;
    sync_dir(&dir)?;
    sync_dir(fixes)?;
    Ok(dir)
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|open| open.sync_all())
        .map_err(failed(dir, "writing"))
}
