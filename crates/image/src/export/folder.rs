//! A directory with a copy of the tree: packed on one thread, unpacked on another.

use super::{Export, layer};
use crate::Limits;
use crate::error::{Error, Result};
use crate::export::Compression;
use crate::pack::{Holes, PackReport, write_error};
use crate::progress::Silent;
use crate::stream::blocks;
use crate::unpack::{Context, unpack};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

pub(super) fn write(what: &Export<'_>, into: &Path) -> Result<PackReport> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(into, flags, Mode::empty())
        .map_err(|errno| Error::store("open", into, errno.into()))?;
    let limits = Limits {
        // It is on this disk already, so it is no bomb; the other limits are those of file systems.
        max_unpacked_bytes: u64::MAX,
        max_entries: u64::MAX,
        ..Limits::default()
    };
    let (filler, blocks) = blocks::<PackReport>();
    std::thread::scope(|scope| {
        let unpacking = std::thread::Builder::new()
            .name(String::from("unpack"))
            .spawn_scoped(scope, || {
                let context = Context {
                    limits: &limits,
                    progress: &Silent,
                    read_bytes: &AtomicU64::new(0),
                    total_bytes: None,
                    place: into,
                };
                unpack(blocks, root, context)
            })
            .map_err(write_error)?;
        let mut out = filler.into_writer();
        let packed =
            layer::write(what, Compression::None, Holes::Kept, &mut out).map(|layer| layer.report);
        let told = match &packed {
            Ok(report) => Ok(report.clone()),
            Err(_) => Err(write_error(io::ErrorKind::BrokenPipe.into())),
        };
        out.finish(told);
        let unpacked = unpacking
            .join()
            .unwrap_or_else(|_| Err(write_error(io::ErrorKind::BrokenPipe.into())));
        match (packed, unpacked) {
            // If one side is gone, the other only sees a broken pipe: who knows more is asked first.
            (Err(Error::Write { .. }), Err(error)) => Err(error),
            (Err(error), _) => Err(error),
            (Ok(report), unpacked) => unpacked.map(|_| report),
        }
    })
}
