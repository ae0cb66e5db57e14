//! Files with holes: where their data is, and how an archive says so.

use super::header::pad;
use rustix::fd::OwnedFd;
use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

/// Where the data of a file with holes is; `None` if it has none worth the trouble. Ends with an empty piece at the
/// end of the file if that is a hole, as GNU tar writes it.
pub(super) fn extents(fd: &OwnedFd, stat: &Stat) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    const MAX_EXTENTS: usize = 1 << 16;
    let size = super::as_u64(stat.st_size);
    // st_blocks counts 512 bytes on Linux, whatever the file system's block is (stat(2)).
    if super::as_u64(stat.st_blocks).saturating_mul(512) >= size {
        return Ok(None);
    }
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            // No data up to the end.
            Err(Errno::NXIO) => break,
            // A file system that cannot tell.
            Err(Errno::INVAL) => return Ok(None),
            result => result?,
        };
        let end = rustix::fs::seek(fd, SeekFrom::Hole(begin))?.min(size);
        if begin >= end || extents.len() >= MAX_EXTENTS {
            return Ok(None);
        }
        extents.push((begin, end - begin));
        at = end;
    }
    if extents == [(0, size)] {
        return Ok(None);
    }
    extents.push((size, 0));
    Ok(Some(extents))
}

/// The map in front of the data: decimal lines, padded to a block.
pub(crate) fn sparse_map(extents: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", extents.len());
    for (offset, length) in extents {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    pad(&mut map);
    map
}
