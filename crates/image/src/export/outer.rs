//! The archive around a layer: small members that are known beforehand, and one whose size and name are known only once it
//! is written. Its header is then written over the one that kept the place, so nothing goes through a second file.

use crate::archive::BLOCK;
use crate::error::Result;
use crate::pack::header::{Entry, encode};
use crate::pack::{END, write_error};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A SHA-256, printed as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(super) fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an image of several files is put into: an archive or a directory.
pub(super) trait Container {
    /// A directory; its name ends with a slash.
    fn directory(&mut self, name: &str) -> Result<()>;
    /// A file that is known already.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()>;
    /// A file that `write` makes up as it goes, and that gets its name and size from what came of that.
    fn late_file<T>(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
        name: impl FnOnce(&T) -> (String, u64),
    ) -> Result<T>;
    /// All is in it.
    fn finish(self) -> Result<()>;
}

/// Between this and the packer, which writes headers one by one.
const BUFFER_BYTES: usize = 256 << 10;

/// The archive.
pub(super) struct Outer<'a> {
    out: BufWriter<&'a File>,
    /// Of every member.
    mtime: i64,
}

impl<'a> Outer<'a> {
    pub(super) fn new(out: &'a File, created: u64) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            mtime: i64::try_from(created).unwrap_or(0),
        }
    }

    fn entry<'e>(&self, name: &'e str, size: u64) -> Entry<'e> {
        Entry {
            path: name.as_bytes(),
            type_flag: b'0',
            mode: 0o644,
            mtime: (self.mtime, 0),
            size,
            ..Entry::default()
        }
    }

    /// The same, with a header of one length whatever the size: beyond 8 GiB it takes a record.
    fn late_entry<'e>(&self, name: &'e str, size: u64) -> Entry<'e> {
        Entry {
            size_record: true,
            ..self.entry(name, size)
        }
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let block = u64::try_from(BLOCK).unwrap_or(1);
        let padding = usize::try_from(size.next_multiple_of(block) - size).unwrap_or(0);
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(write_error)
    }

    fn position(&mut self) -> Result<u64> {
        self.out.stream_position().map_err(write_error)
    }
}

impl Container for Outer<'_> {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.put(&encode(&Entry {
            path: name.as_bytes(),
            type_flag: b'5',
            mode: 0o755,
            mtime: (self.mtime, 0),
            ..Entry::default()
        }))
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let header = encode(&self.entry(name, size));
        self.put(&header)?;
        self.put(bytes)?;
        self.pad(size)
    }

    fn late_file<T>(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
        name: impl FnOnce(&T) -> (String, u64),
    ) -> Result<T> {
        let begin = self.position()?;
        let reserved = encode(&self.late_entry("", 0));
        self.put(&reserved)?;
        let made = write(&mut self.out)?;
        let end = self.position()?;
        let (name, size) = name(&made);
        self.out.seek(SeekFrom::Start(begin)).map_err(write_error)?;
        let header = encode(&self.late_entry(&name, size));
        self.put(&header)?;
        self.out.seek(SeekFrom::Start(end)).map_err(write_error)?;
        self.pad(size)?;
        Ok(made)
    }

    fn finish(mut self) -> Result<()> {
        self.put(&END)?;
        self.out.flush().map_err(write_error)
    }
}

/// A directory, which nobody else writes to.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    pub(super) path: &'a Path,
    /// Of every file.
    pub(super) created: u64,
}

impl Folder<'_> {
    fn settle(&self, file: &File) -> io::Result<()> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.created);
        file.set_modified(time)
    }
}

/// What a file is called until its name is known.
const UNNAMED: &str = ".unnamed";

impl Container for Folder<'_> {
    fn directory(&mut self, name: &str) -> Result<()> {
        std::fs::create_dir_all(self.path.join(name)).map_err(write_error)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let write = || {
            let mut file = File::create_new(self.path.join(name))?;
            file.write_all(bytes)?;
            self.settle(&file)
        };
        write().map_err(write_error)
    }

    fn late_file<T>(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
        name: impl FnOnce(&T) -> (String, u64),
    ) -> Result<T> {
        let unnamed = self.path.join(UNNAMED);
        let file = File::create_new(&unnamed).map_err(write_error)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &file);
        let made = write(&mut out)?;
        let settle = || {
            out.flush()?;
            self.settle(&file)?;
            std::fs::rename(&unnamed, self.path.join(name(&made).0))
        };
        settle().map_err(write_error)?;
        Ok(made)
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}
