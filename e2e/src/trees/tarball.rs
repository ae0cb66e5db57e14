//! A tree as a tarball, beside it in the cache: `<slot>/rootfs.tar.zst`.
//!
//! GNU tar with numeric owners and all extended attributes (file capabilities are one),
//! names sorted, so that two packings of one tree differ in nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::run;
use super::cache::Lock;

/// How the tarball is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Compression {
    /// All of them, for tests that go through each.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
        Compression::Bzip2,
    ];

    /// The end of the file name, as people write it.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Compression::None => "tar",
            Compression::Gzip => "tar.gz",
            Compression::Xz => "tar.xz",
            Compression::Zstd => "tar.zst",
            Compression::Bzip2 => "tar.bz2",
        }
    }

    /// Fast levels: the tests are about formats, not about size.
    const fn option(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("--use-compress-program=gzip -1"),
            Compression::Xz => Some("--use-compress-program=xz -0 -T2"),
            Compression::Zstd => Some("--use-compress-program=zstd -3 -T2 -q"),
            Compression::Bzip2 => Some("--use-compress-program=bzip2 -1"),
        }
    }
}

/// Packs `rootfs` into a file beside it, unless that exists.
pub fn pack(rootfs: &Path, compression: Compression) -> Result<PathBuf> {
    let path = rootfs.with_extension(compression.extension());
    if path.exists() {
        return Ok(path);
    }
    let _lock = Lock::acquire()?;
    if path.exists() {
        return Ok(path);
    }
    let partial = rootfs.with_extension("tar.partial");
    let mut command = Command::new("tar");
    command.args([
        "--create",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--numeric-owner",
        "--sort=name",
    ]);
    command
        .args(compression.option())
        .arg("--file")
        .arg(&partial)
        .arg("--directory")
        .arg(rootfs)
        .arg(".");
    run(&mut command).with_context(|| format!("packing {}", rootfs.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("renaming {}", partial.display()))?;
    Ok(path)
}
