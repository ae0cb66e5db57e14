//! A root file system for the Windows Subsystem for Linux: a compressed archive of the tree with two files of WSL's in it.
//!
//! # Source
//! Microsoft's documentation: "Build a custom Linux distribution for WSL" and "Advanced settings configuration in WSL".

use super::Export;
use super::bundle::{self, Small};
use crate::beneath;
use crate::error::Result;
use crate::pack::PackReport;
use rustix::fs::AtFlags;
use std::io::Write;

pub(super) fn write(
    what: &Export<'_>,
    starts_systemd: bool,
    out: impl Write,
) -> Result<PackReport> {
    let (name, _) = what
        .meta
        .name
        .split_once(':')
        .unwrap_or((&what.meta.name, ""));
    let name = name.rsplit('/').next().unwrap_or(name);
    let settings = format!("[boot]\nsystemd={starts_systemd}\n\n[user]\ndefault=root\n");
    let distribution = format!("[oobe]\ndefaultUid=0\ndefaultName={name}\n");
    let mut files: Vec<Small<'_>> = vec![
        ("./etc/wsl-distribution.conf", distribution.into_bytes()),
        ("./etc/wsl.conf", settings.into_bytes()),
    ];
    // What the tree says about this itself counts.
    if let Ok(etc) = beneath::open_dir(what.root, b"etc") {
        files.retain(|(path, _)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            rustix::fs::statat(&etc, name, AtFlags::SYMLINK_NOFOLLOW).is_err()
        });
    }
    bundle::write(what, &[], "./", &files, out)
}
