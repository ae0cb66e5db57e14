//! The console log: what the console showed since boot, bounded on disk.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes in the current file before it becomes the previous one: twice this is the most that a machine can fill.
const LIMIT: u64 = 1024 * 1024;

/// A log of two files, `console.log` and the older `console.log.1`.
#[derive(Debug)]
pub(crate) struct ConsoleLog {
    path: PathBuf,
    file: Option<File>,
    written: u64,
}

impl ConsoleLog {
    /// Starts a new log in a directory; what the boot before left is dropped.
    pub(crate) fn start(dir: &Path) -> Self {
        let path = dir.join("console.log");
        let _ = std::fs::remove_file(older(&path));
        Self {
            file: open(&path),
            path,
            written: 0,
        }
    }

    /// Appends. A log that cannot be written (disk full) must not stop a machine: the bytes are lost.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.written > LIMIT {
            // First, since ext4 writes to the disk at once what is renamed over another file (ext4(5), `auto_da_alloc`): a machine
            // that floods its console would have all the disk's time, and its own sync(1) at shutdown none.
            let _ = std::fs::remove_file(older(&self.path));
            let _ = std::fs::rename(&self.path, older(&self.path));
            self.file = open(&self.path);
            self.written = 0;
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
            self.written += bytes.len() as u64;
        }
    }
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .ok()
}

/// The file that holds what came before `console.log`.
pub(crate) fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ConsoleLog::start(dir.path());
        for _ in 0..400 {
            log.append(&[b'x'; 16 * 1024]);
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        let path = dir.path().join("console.log");
        assert!(size(&path) + size(&older(&path)) <= 2 * LIMIT + 64 * 1024);
        assert!(size(&older(&path)) >= LIMIT);
    }
}
