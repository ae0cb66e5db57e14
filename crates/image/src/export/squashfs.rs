//! A squashfs image, made by `mksquashfs` of squashfs-tools from a copy of the tree.
//!
//! A program, since no library in Rust writes extended attributes into a squashfs: file capabilities would be lost. A copy,
//! since `sqfstar` 4.5, which takes an archive, gives the top directory the time of the run (measured), so that no two images
//! would be the same.
//!
//! # Source
//! mksquashfs(1): "-reproducible" is the default since 4.4; `-mkfs-time` is the time in the superblock.

use super::{Export, folder};
use crate::error::{Error, Result};
use crate::pack::{PackReport, write_error};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = "mksquashfs";

pub(super) fn write(what: &Export<'_>, file: &Path) -> Result<PackReport> {
    let copy = Copy::new(file).map_err(write_error)?;
    let report = folder::write(what, &copy.0)?;
    let output = Command::new(PROGRAM)
        .arg(&copy.0)
        .arg(file)
        .args(["-noappend", "-quiet", "-no-progress", "-xattrs"])
        .args(["-mkfs-time", &what.meta.created.to_string()])
        // It would also change times of files, and refuses to be told twice.
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::null())
        .output();
    let failed = |source| Error::Program {
        program: PROGRAM,
        source,
    };
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        return Err(failed(io::Error::other(format!(
            "{}: {said}",
            output.status
        ))));
    }
    Ok(report)
}

/// The tree, until the image is made of it.
struct Copy(PathBuf);

impl Copy {
    fn new(file: &Path) -> io::Result<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".tree");
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path.into()))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
