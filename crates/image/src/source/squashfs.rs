//! A squashfs image: turned into an archive on one thread, unpacked on another.

use super::{Manifest, Opened, Source};
use crate::error::{Error, Result};
use crate::squashfs::{self, MAGIC};
use crate::stream::blocks;
use crate::unpack::{Context, unpack};
use rustix::fd::{AsFd, OwnedFd};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(super) struct Squashfs;

impl Source for Squashfs {
    fn id(&self) -> &'static str {
        "squashfs"
    }

    fn probe(&self, opened: &Opened) -> bool {
        opened.head.starts_with(MAGIC)
    }

    fn import(
        &self,
        opened: Opened,
        count: Arc<AtomicU64>,
        root: OwnedFd,
        context: Context<'_>,
    ) -> Result<Manifest> {
        let name = opened.name.clone();
        let failed = |source| Error::Read {
            source_name: name.clone(),
            source,
        };
        // Its tables are at its end.
        let mut opened = opened.seekable(root.as_fd(), context.limits)?;
        let mut sha256 = Sha256::new();
        let mut bytes = 0;
        opened.for_all(|chunk| {
            sha256.update(chunk);
            bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        })?;
        let Some(file) = opened.into_file() else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let (filler, blocks) = blocks::<()>();
        let mut out = filler.into_writer();
        let (limits, source_name) = (context.limits.clone(), name.clone());
        let work = move || {
            let result = squashfs::write_tar(file, &limits, count, &source_name, &mut out);
            out.finish(result);
        };
        // Not joined: it ends when either side does.
        std::thread::Builder::new()
            .name(String::from("squashfs"))
            .spawn(work)
            .map_err(failed)?;
        let (report, _) = unpack(blocks, root, context)?;
        Ok(Manifest {
            sha256: sha256.finalize().into(),
            bytes,
            compression: None,
            prefix: Vec::new(),
            report,
            config: None,
        })
    }
}
