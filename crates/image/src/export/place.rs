//! A name beside the final one, under which something is written until it is complete.

use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Removed again, unless it was committed.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    out: PathBuf,
    is_directory: bool,
    is_done: bool,
}

/// Behind it comes the process ID of who writes it.
const MARK: &str = ".repot-part-";

impl Place {
    /// Checks what is at `out`, and removes what somebody has left who was killed.
    pub(super) fn new(out: &Path, is_directory: bool) -> Result<Self> {
        let failed = |source| Error::store("write", out, source);
        let name = out
            .file_name()
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let exists = || Error::Exists {
            path: out.to_owned(),
        };
        match std::fs::symlink_metadata(out) {
            Ok(found) if found.is_dir() => {
                let is_empty = std::fs::read_dir(out).map_err(failed)?.next().is_none();
                if !is_directory || !is_empty {
                    return Err(exists());
                }
            }
            Ok(found) if is_directory || !found.is_file() => return Err(exists()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(MARK);
        collect(parent, &prefix);
        let mut own = prefix;
        own.push(std::process::id().to_string());
        let place = Self {
            path: parent.join(own),
            out: out.to_owned(),
            is_directory,
            is_done: false,
        };
        // Left by an earlier process of the same number.
        remove(&place.path);
        if is_directory {
            // Nobody else looks into it before it is complete.
            let made = DirBuilder::new().mode(0o700).create(&place.path);
            made.map_err(failed)?;
        }
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file to write to, new.
    pub(super) fn file(&self) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&self.path)
            .map_err(|source| Error::store("write", &self.out, source))
    }

    /// All is on the disk, and gets its name.
    pub(super) fn commit(mut self) -> Result<()> {
        let rename = || -> io::Result<()> {
            let file = File::open(&self.path)?;
            if self.is_directory {
                rustix::fs::syncfs(&file)?;
            } else {
                file.sync_all()?;
            }
            std::fs::rename(&self.path, &self.out)
        };
        rename().map_err(|source| Error::store("write", &self.out, source))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_done {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    // Either it is there as one of both, or there is nothing to do.
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Removes what processes have left that are gone.
fn collect(parent: &Path, prefix: &OsStr) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.as_bytes().strip_prefix(prefix.as_bytes());
        let number = number.and_then(|number| std::str::from_utf8(number).ok());
        // What belongs to it has a suffix.
        let number = number.and_then(|number| number.split('.').next());
        let Some(pid) = number.and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_was_not_committed() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("x");
        // No process has this number (proc(5), pid_max).
        let stale = temp.path().join(".x.repot-part-4999999");
        std::fs::create_dir(&stale).unwrap();
        let place = Place::new(&out, false).unwrap();
        place.file().unwrap();
        assert!(!stale.exists());
        drop(place);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        let place = Place::new(&out, false).unwrap();
        place.file().unwrap();
        place.commit().unwrap();
        assert!(out.is_file());
    }

    #[test]
    fn only_files_and_empty_directories_are_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("x");
        std::fs::create_dir(&out).unwrap();
        assert!(Place::new(&out, false).is_err());
        Place::new(&out, true).unwrap().commit().unwrap();
        std::fs::write(out.join("file"), "").unwrap();
        assert!(Place::new(&out, true).is_err());
        assert!(Place::new(&out.join("file"), true).is_err());
        assert!(Place::new(&out.join("file"), false).is_ok());
        assert!(Place::new(Path::new("/dev/null"), false).is_err());
    }
}
