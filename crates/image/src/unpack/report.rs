//! What an unpacking did, and what it had to leave out.

use serde::{Deserialize, Serialize};

/// Counts of one unpacking. Part of the image's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackReport {
    /// Regular files.
    pub files: u64,
    /// Directories, including those that the archive left out.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Character and block devices.
    pub devices: u64,
    /// Named pipes.
    pub fifos: u64,
    /// Bytes of file data.
    pub file_bytes: u64,
    /// Devices that the kernel did not let us create: only root of the initial user namespace may.
    pub skipped_devices: u64,
    /// Extended attributes that could not be set, or would mean something to an overlay mount.
    pub skipped_xattrs: u64,
    /// Names of some of them.
    pub skipped_xattr_names: Vec<String>,
    /// Files whose owner could not be set: not root.
    pub unowned: u64,
    /// Members of a type that is not known, unpacked as files.
    pub unknown_types: u64,
    /// The archive had no end mark and may have been cut off between two entries.
    pub unmarked_end: bool,
    /// Bytes of something else after the end of the archive or of the compressed data; ignored.
    pub garbage_bytes: u64,
}

impl UnpackReport {
    /// Number of entries made.
    pub fn entries(&self) -> u64 {
        self.files
            + self.directories
            + self.symlinks
            + self.hard_links
            + self.devices
            + self.fifos
            + self.skipped_devices
    }

    /// What a user should know, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut count = |number: u64, text: &str| {
            if number > 0 {
                out.push(format!("{number} {text}"));
            }
        };
        count(
            self.skipped_devices,
            "device nodes were left out: creating them takes root outside of a user namespace",
        );
        count(
            self.unowned,
            "files belong to you instead of their owner: setting it takes root",
        );
        count(
            self.skipped_xattrs,
            &format!(
                "extended attributes could not be set: {}",
                self.skipped_xattr_names.join(", ")
            ),
        );
        count(
            self.unknown_types,
            "entries of an unknown type were unpacked as files",
        );
        count(
            self.garbage_bytes,
            "bytes after the end of the archive were ignored",
        );
        if self.unmarked_end {
            out.push(String::from(
                "the archive has no end mark: it may have been cut off",
            ));
        }
        out
    }

    pub(crate) fn skip_xattr(&mut self, name: &[u8]) {
        const NAMED: usize = 8;
        self.skipped_xattrs += 1;
        let name = String::from_utf8_lossy(name).escape_debug().to_string();
        if self.skipped_xattr_names.len() < NAMED && !self.skipped_xattr_names.contains(&name) {
            self.skipped_xattr_names.push(name);
        }
    }
}
