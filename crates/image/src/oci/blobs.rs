//! The files of an image, by the directory that they are in: read beneath it, without following a symlink out of it, and never
//! more than is expected.

use super::documents::{Digest, MAX_DOCUMENT_BYTES};
use super::fault::Fault;
use crate::archive::MemberPath;
use crate::beneath;
use crate::error::quote;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;

/// The directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blobs<'a> {
    pub(super) dir: BorrowedFd<'a>,
}

/// A file and its size.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl Blobs<'_> {
    /// Whether something of that name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(self.dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens a file by its path.
    pub(super) fn open(&self, path: &[u8]) -> Result<Blob, Fault> {
        let fd = self.open_any(path)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Fault::Read(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Fault::NotAFile);
        }
        Ok(Blob {
            file: File::from(fd),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
        })
    }

    fn open_any(&self, path: &[u8]) -> Result<OwnedFd, Fault> {
        // NONBLOCK and NOCTTY: a fifo or terminal in its place does nothing.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match beneath::open(self.dir, path, flags) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT) => Err(Fault::Missing),
            Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO) => Err(Fault::NotAFile),
            Err(errno) => Err(Fault::Read(errno.into())),
        }
    }

    /// Opens a file by a path that a document of `docker save` names. Docker before 25 writes a layer that was saved already as a
    /// symlink to it (moby `image/tarexport/save.go`, saveLayer).
    pub(super) fn open_named(&self, name: &str) -> Result<Blob, Fault> {
        let path = checked(name)?;
        let (parent, last) = path.split();
        let Ok(parent_dir) = beneath::open_dir(self.dir, parent) else {
            return self.open(path.as_bytes());
        };
        match rustix::fs::readlinkat(parent_dir.as_fd(), last, Vec::new()) {
            Ok(target) => {
                let target = beside(parent, target.as_bytes()).ok_or_else(|| Fault::Path {
                    path: quote(target.as_bytes()),
                    reason: String::from("it leads out of it"),
                })?;
                self.open(&target)
            }
            Err(_) => self.open(path.as_bytes()),
        }
    }

    /// Opens the file of a digest.
    pub(super) fn open_digest(&self, digest: &Digest, bytes: u64) -> Result<Blob, Fault> {
        let blob = self.open(format!("blobs/sha256/{}", digest.hex()).as_bytes())?;
        match blob.bytes == bytes {
            true => Ok(blob),
            false => Err(Fault::Size {
                expected: bytes,
                found: blob.bytes,
            }),
        }
    }

    /// A document by its digest.
    pub(super) fn document(&self, digest: &Digest, bytes: u64) -> Result<Vec<u8>, Fault> {
        let read = read(self.open_digest(digest, bytes)?)?;
        verify(&read, digest)?;
        Ok(read)
    }
}

/// All of a document.
pub(super) fn read(blob: Blob) -> Result<Vec<u8>, Fault> {
    let limit = MAX_DOCUMENT_BYTES;
    if blob.bytes > limit {
        return Err(Fault::TooLarge {
            bytes: blob.bytes,
            limit,
        });
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let result = blob.file.take(limit).read_to_end(&mut bytes);
    result.map(|_| bytes).map_err(Fault::Read)
}

/// Whether these bytes are what the digest is of.
pub(super) fn verify(bytes: &[u8], expected: &Digest) -> Result<(), Fault> {
    same(expected, &Digest::of(&sha256(bytes)))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn same(expected: &Digest, found: &Digest) -> Result<(), Fault> {
    match found == expected {
        true => Ok(()),
        false => Err(Fault::Mismatch {
            expected: expected.to_string(),
            found: found.to_string(),
        }),
    }
}

fn checked(name: &str) -> Result<MemberPath, Fault> {
    MemberPath::parse(name.as_bytes()).map_err(|reason| Fault::Path {
        path: quote(name.as_bytes()),
        reason: reason.to_string(),
    })
}

/// What a relative symlink in `parent` leads to, if that is in the directory.
fn beside(parent: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let all = parent.split(|byte| *byte == b'/');
    for part in all.chain(target.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let found = |parent: &str, target: &str| {
            let path = beside(parent.as_bytes(), target.as_bytes())?;
            String::from_utf8(path).ok()
        };
        assert_eq!(found("a", "../b/layer.tar").unwrap(), "b/layer.tar");
        assert_eq!(found("", "x/./y").unwrap(), "x/y");
        assert_eq!(found("a", "../../etc/passwd"), None);
        assert_eq!(found("a", "/etc/passwd"), None);
    }
}
