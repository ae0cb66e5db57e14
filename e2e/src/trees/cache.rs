//! Where built trees are kept, and the lock that keeps two builders apart.
//!
//! The cache is outside the work tree, so that a fresh clone on the same machine reuses it:
//! `$REPOT_TEST_CACHE`, else `/var/cache/repot-e2e`. One lock for all builds is enough: it is
//! never held by a test that finds its tree built, and the machine has few cores.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::build::remove;

/// The root of the cache.
pub fn dir() -> PathBuf {
    let chosen: Option<OsString> =
        std::env::var_os("REPOT_TEST_CACHE").filter(|dir| !dir.is_empty());
    chosen.map_or_else(|| PathBuf::from("/var/cache/repot-e2e"), PathBuf::from)
}

/// Held while something is built; the kernel releases it when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else builds.
    pub fn acquire() -> Result<Lock> {
        let dir = dir();
        fs::create_dir_all(&dir)
            .with_context(|| format!("creating the cache {}", dir.display()))?;
        let path = dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }
}

/// Removes everything from the cache but `kept`. The lock is the caller's proof that nobody
/// builds meanwhile.
pub fn prune(kept: &[PathBuf], _lock: &Lock) -> Result<Vec<PathBuf>> {
    let dir = dir();
    let mut removed = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", dir.display()))?
            .path();
        if !kept.contains(&path) {
            remove(&path)?;
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}
