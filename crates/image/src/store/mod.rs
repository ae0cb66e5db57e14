//! The store: `images/ID/{rootfs/,image.json,lock}`, immutable, addressed by digest.
//!
//! An image appears by one rename(2) when it is complete, and disappears by one. Whatever else is in the directory
//! is named `.staging-*` and belongs to a running command, or to one that was killed, in which case the next
//! import removes it (`staging.rs`). The directory is 0700: programs in images keep their set-uid bits, and other
//! users of the host must not reach them.

mod import;
mod lock;
mod record;
mod staging;

pub use import::{Durability, ImportOptions, Imported};
pub use lock::ImageLock;
pub use record::{ImageRecord, RECORD_VERSION};

use crate::error::{Error, Result};
use crate::id::{self, ImageId};
use crate::remove::remove_tree;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The images of one state directory.
#[derive(Debug)]
pub struct Store {
    images: OwnedFd,
    path: PathBuf,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its record.
    pub record: ImageRecord,
    dir: PathBuf,
}

impl Image {
    /// Its name.
    pub fn id(&self) -> &ImageId {
        &self.record.id
    }

    /// The root file system. It must not be written to.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

impl Store {
    /// Opens the store in `state_dir`, and makes both if they are missing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("images");
        std::fs::create_dir_all(state_dir)
            .map_err(|error| Error::store("create", state_dir, error))?;
        let failed = |call| {
            let path = &path;
            move |errno: Errno| Error::store(call, path, io::Error::from(errno))
        };
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create")(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let images = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("open"))?;
        let stat = rustix::fs::fstat(&images).map_err(failed("look at"))?;
        if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
            rustix::fs::fchmod(&images, Mode::RWXU).map_err(failed("protect"))?;
        }
        Ok(Self { images, path })
    }

    /// Every image, oldest first. An image whose record cannot be read is an error in the list, not of the list.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Image>>> {
        let mut images: Vec<Result<Image>> = Vec::new();
        for name in self.names()? {
            if let Ok(id) = ImageId::parse(&name) {
                match self.load(&id) {
                    // Removed in the meantime.
                    Err(Error::NoImage(_)) => {}
                    result => images.push(result),
                }
            }
        }
        images.sort_by_key(|image| match image {
            Ok(image) => (image.record.created_s, image.record.id.to_string()),
            Err(_) => (u64::MAX, String::new()),
        });
        Ok(images)
    }

    /// The one image whose id begins with `prefix`, with or without `sha256:` in front.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::Ambiguous`], or why its record cannot be read.
    pub fn get(&self, prefix: &str) -> Result<Image> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        let mut found: Vec<ImageId> = Vec::new();
        if id::is_prefix(digits) {
            let names = self.names()?;
            let fitting = names.iter().filter(|name| name.starts_with(digits));
            found.extend(fitting.filter_map(|name| ImageId::parse(name).ok()));
        }
        match &found[..] {
            [] => Err(Error::NoImage(prefix.to_owned())),
            [id] => self.load(id),
            several => Err(Error::Ambiguous {
                prefix: prefix.to_owned(),
                matches: several.iter().map(|id| id.short().to_owned()).collect(),
            }),
        }
    }

    /// Marks an image as in use, so that it is not removed before the lock is dropped.
    ///
    /// # Errors
    /// [`Error::NoImage`], or [`Error::InUse`] if it is being removed.
    pub fn lock(&self, id: &ImageId) -> Result<ImageLock> {
        ImageLock::shared(self, id)
    }

    /// Removes an image.
    ///
    /// # Errors
    /// [`Error::NoImage`], [`Error::InUse`], [`Error::Mounted`] if something is mounted in its tree.
    pub fn remove(&self, id: &ImageId) -> Result<()> {
        // Held until everything is gone, so that nobody takes the remains for those of a killed command.
        let lock = ImageLock::exclusive(self, id)?;
        let doomed = staging::fresh_name()?;
        rustix::fs::renameat(&self.images, id.as_str(), &self.images, &doomed[..])
            .map_err(|errno| Error::store("remove", &self.dir(id), errno.into()))?;
        let result = remove_tree(self.images.as_fd(), OsStr::new(&doomed), &self.path);
        drop(lock);
        result
    }

    fn dir(&self, id: &ImageId) -> PathBuf {
        self.path.join(id.as_str())
    }

    fn load(&self, id: &ImageId) -> Result<Image> {
        let dir = self.dir(id);
        let record = ImageRecord::read(&dir.join(record::FILE), id)?;
        Ok(Image { record, dir })
    }

    /// Names in the directory, sorted.
    fn names(&self) -> Result<Vec<String>> {
        let read = || -> rustix::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.images)? {
                // What is not UTF-8 was not made here.
                if let Ok(name) = entry?.file_name().to_str() {
                    names.push(name.to_owned());
                }
            }
            names.sort();
            Ok(names)
        };
        read().map_err(|errno| Error::store("read", &self.path, errno.into()))
    }
}
