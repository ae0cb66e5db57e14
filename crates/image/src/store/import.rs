//! From a source to an image: unpack aside, find the root file system, record, rename.

use super::record::{self, ImageRecord, RECORD_VERSION};
use super::staging::{Committed, Staging};
use super::{Image, Store};
use crate::error::{Error, Result};
use crate::id::ImageId;
use crate::limits::Limits;
use crate::oci::{self, Kind, Picked};
use crate::progress::{Phase, Progress};
use crate::remove::remove_tree;
use crate::source::oci::unpack as unpack_layers;
use crate::source::{self, Manifest, Opened, SourceRef};
use crate::unpack::{Context, Layout, UnpackReport, find_rootfs, is_rootfs};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How sure an import makes that its image survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The whole tree is on the disk before the image appears (syncfs(2)).
    #[default]
    Full,
    /// Only the record is. After a power cut within the next half minute, files of the image may be empty.
    Record,
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What the archive may cost.
    pub limits: Limits,
    /// Whether to wait for the disk.
    pub durability: Durability,
}

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image.
    pub image: Image,
    /// Whether it is new; if not, the store had it already, whatever its source was called then.
    pub is_new: bool,
}

impl Store {
    /// Makes an image of a source, or finds the one that was made of the same bytes before.
    ///
    /// # Errors
    /// Everything in [`Error`] that is about sources, archives and writing. Nothing is left in the store then.
    pub fn import(
        &self,
        source: &SourceRef,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Imported> {
        // Not a reason to refuse: what cannot be removed now (a mount in it) harms nobody but the disk.
        let _ = self.collect();
        let mut opened = Opened::new(source)?;
        let format = source::find(&opened)?;
        let known = match format.sha256(&opened)? {
            Some(sha256) => self.known(&sha256)?,
            None => self.already_there(&mut opened, progress)?,
        };
        if let Some(image) = known {
            return Ok(Imported {
                image,
                is_new: false,
            });
        }
        let source_name = opened.name.clone();
        let count = Arc::new(AtomicU64::new(0));
        let free = self.free_bytes()?;
        let limits = Limits {
            max_unpacked_bytes: options.limits.max_unpacked_bytes.min(free),
            ..options.limits.clone()
        };
        let staging = Staging::new(self)?;
        let tree = staging.make_dir(TREE)?;
        let context = Context {
            limits: &limits,
            progress,
            read_bytes: &count,
            total_bytes: opened.bytes,
            place: &self.path,
        };
        progress.update(&context.snapshot(Phase::Unpacking, &UnpackReport::default()));
        let result = tree
            .try_clone()
            .map_err(|error| Error::store("open", &self.path, error));
        let result =
            result.and_then(|root| format.import(opened, Arc::clone(&count), root, context));
        let full = |error| self.full_not_limited(error, free);
        let manifest = result.map_err(full)?;
        let mut format_name = format.id();
        let mut unpacked = Unpacked {
            tree,
            name: TREE,
            manifest,
        };
        if let Some(kind) = oci::find(unpacked.tree.as_fd()).filter(|_| holds_no_tree(&unpacked)) {
            format_name = kind.archive();
            unpacked = layers(&staging, unpacked, kind, &source_name, context).map_err(full)?;
        }
        let prefix = settle(&staging, &unpacked, &source_name)?;
        let manifest = unpacked.manifest;
        progress.update(&context.snapshot(Phase::Syncing, &manifest.report));
        let record = record_of(manifest, format_name, source_name, &prefix);
        write_record(&staging, &record, options.durability)?;
        let is_new = staging.commit(&record.id)? == Committed::New;
        Ok(Imported {
            image: self.load(&record.id)?,
            is_new,
        })
    }

    /// Looks whether a regular file was imported before, and reads it for that only if an image of its size exists.
    fn already_there(&self, opened: &mut Opened, progress: &dyn Progress) -> Result<Option<Image>> {
        let Some(total) = opened.bytes else {
            return Ok(None);
        };
        let images = self.list()?;
        let known = |image: &Image| image.record.source_bytes == total;
        if !images.iter().flatten().any(known) {
            return Ok(None);
        }
        let mut sha256 = Sha256::new();
        let count = AtomicU64::new(0);
        let context = Context {
            limits: &Limits::default(),
            progress,
            read_bytes: &count,
            total_bytes: Some(total),
            place: &self.path,
        };
        opened.for_all(|chunk| {
            sha256.update(chunk);
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            count.fetch_add(length, Ordering::Relaxed);
            progress.update(&context.snapshot(Phase::Hashing, &UnpackReport::default()));
        })?;
        self.known(&sha256.finalize().into())
    }

    /// The image that was made of these bytes.
    fn known(&self, sha256: &[u8; 32]) -> Result<Option<Image>> {
        let id = ImageId::from_sha256(sha256);
        match self.load(&id) {
            Ok(image) => Ok(Some(image)),
            Err(Error::NoImage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is free on the store's file system: to root all of it, to others what is not reserved.
    fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.images)
            .map_err(|errno| Error::store("look at", &self.path, errno.into()))?;
        let blocks = match rustix::process::geteuid().is_root() {
            true => stat.f_bfree,
            false => stat.f_bavail,
        };
        Ok(blocks.saturating_mul(stat.f_frsize))
    }

    /// An archive that claims more than the disk has free is a full disk to the user.
    fn full_not_limited(&self, error: Error, free: u64) -> Error {
        let claims = |error: &Error| matches!(error, Error::Limit { limit, .. } if *limit == free);
        if claims(&error) {
            return Error::NoSpace {
                path: self.path.clone(),
            };
        }
        error
    }
}

/// Where the source is unpacked, below the staging directory.
const TREE: &str = "tree";

/// Where the layers of an image that was unpacked there are put together.
const LAYERS: &str = "layers";

/// What was made of a source.
struct Unpacked {
    tree: OwnedFd,
    /// Of its directory, below the staging directory.
    name: &'static str,
    manifest: Manifest,
}

/// An archive may hold a tree that has files called like those of an image.
fn holds_no_tree(unpacked: &Unpacked) -> bool {
    !is_rootfs(unpacked.tree.as_fd())
}

/// Puts the layers together that came out of an archive. It keeps its own digest and size.
fn layers(
    staging: &Staging<'_>,
    from: Unpacked,
    kind: Kind,
    source_name: &str,
    context: Context<'_>,
) -> Result<Unpacked> {
    let picked = Picked::new(from.tree.as_fd(), kind, source_name)?;
    let tree = staging.make_dir(LAYERS)?;
    let root = tree
        .try_clone()
        .map_err(|error| Error::store("open", &staging.path(), error))?;
    let count = Arc::new(AtomicU64::new(0));
    let context = Context {
        read_bytes: &count,
        ..context
    };
    let made = unpack_layers(picked, root, &count, context)?;
    remove_tree(staging.fd(), OsStr::new(from.name), &staging.path())?;
    Ok(Unpacked {
        tree,
        name: LAYERS,
        manifest: Manifest {
            report: made.report,
            config: made.config,
            ..from.manifest
        },
    })
}

/// Moves the root file system to where it belongs, and says where it was.
fn settle(staging: &Staging<'_>, unpacked: &Unpacked, source_name: &str) -> Result<Vec<u8>> {
    let Unpacked { tree, name, .. } = unpacked;
    let path = staging.path().join(name);
    let failed = |errno: Errno| Error::store("look at", &path, errno.into());
    let prefix = match find_rootfs(tree.as_fd()).map_err(failed)? {
        Layout::At(prefix) => prefix,
        Layout::Missing(found) => {
            return Err(Error::NoRootfs {
                source_name: source_name.to_owned(),
                found,
            });
        }
    };
    // Our own path, with a prefix that was looked at without following symlinks, where only we write.
    let from = [name.as_bytes(), &prefix].join(&b'/');
    let from = from.strip_suffix(b"/").unwrap_or(&from);
    move_directory(staging.fd(), from, "rootfs").map_err(failed)?;
    if !prefix.is_empty() {
        remove_tree(staging.fd(), OsStr::new(name), &staging.path())?;
    }
    Ok(prefix)
}

/// rename(2). Moving a directory to another parent changes its `..`, so without root it must be writable for that.
fn move_directory(dir: BorrowedFd<'_>, from: &[u8], to: &str) -> rustix::io::Result<()> {
    match rustix::fs::renameat(dir, from, dir, to) {
        Err(Errno::ACCESS) => {}
        result => return result,
    }
    let mode = rustix::fs::statat(dir, from, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    rustix::fs::chmodat(dir, from, Mode::RWXU, AtFlags::empty())?;
    rustix::fs::renameat(dir, from, dir, to)?;
    rustix::fs::chmodat(dir, to, Mode::from_raw_mode(mode), AtFlags::empty())
}

fn record_of(manifest: Manifest, format: &str, source: String, prefix: &[u8]) -> ImageRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // Only one of both is not empty.
    let prefix = [&manifest.prefix, prefix].concat();
    ImageRecord {
        version: RECORD_VERSION,
        id: ImageId::from_sha256(&manifest.sha256),
        source,
        format: match manifest.compression {
            Some(compression) => format!("{format}, {compression}"),
            None => format.to_owned(),
        },
        source_bytes: manifest.bytes,
        created_s: now.map_or(0, |time| time.as_secs()),
        prefix: String::from_utf8_lossy(&prefix).into_owned(),
        unpacked: manifest.report,
        config: manifest.config,
    }
}

fn write_record(staging: &Staging<'_>, record: &ImageRecord, durability: Durability) -> Result<()> {
    let path = staging.path().join(record::FILE);
    let write = || -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(staging.fd(), record::FILE, flags, mode)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(&text)?;
        match durability {
            Durability::Full => rustix::fs::syncfs(&file)?,
            Durability::Record => file.sync_all()?,
        }
        rustix::fs::fsync(staging.fd())?;
        Ok(())
    };
    write().map_err(|error| Error::store("write", Path::new(&path), error))
}
