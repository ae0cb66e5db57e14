//! The members of an archive, one after the other, with their extension headers applied.
//!
//! In: a [`Stream`] of uncompressed bytes. Out: [`Member`]s and their data, never more than one block of it in
//! memory. What a header claims is charged to the limits before anything is done about it.

use super::header::{self, checksum_is_right, unsigned};
use super::pax::{Pax, Time};
use super::sparse::SparseMap;
use super::{BLOCK, MemberPath};
use crate::error::{Error, Refusal, Result, quote};
use crate::limits::Limits;
use crate::stream::Stream;
use tar::Header;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry of the archive.
#[derive(Debug)]
pub(crate) struct Member {
    /// Where its first header begins.
    pub(crate) offset: u64,
    /// The name as it stands in the archive, for messages.
    pub(crate) name: Vec<u8>,
    pub(crate) path: MemberPath,
    pub(crate) kind: Kind,
    /// Its type is none of those, and it is taken for a file.
    pub(crate) unknown_type: bool,
    /// Target of a link, as it stands in the archive.
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Bytes of data in the archive, which sparse files have more of than this.
    pub(crate) size: u64,
    pub(crate) sparse: Option<SparseMap>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// An error that says that this member is not wanted.
    pub(crate) fn refused(&self, reason: Refusal) -> Error {
        refused(&self.name, self.offset, reason)
    }
}

fn refused(name: &[u8], offset: u64, reason: Refusal) -> Error {
    Error::Refused {
        entry: quote(name),
        offset,
        reason,
    }
}

/// What followed the last member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// There were no zero blocks: the archive may have been cut off between two members.
    pub(crate) unmarked: bool,
    /// Bytes after the zero blocks, without the zeros around them.
    pub(crate) garbage_bytes: u64,
    /// All that counts against `max_unpacked_bytes`.
    pub(crate) charged: u64,
}

/// What [`Limits::max_unpacked_bytes`] is called in errors.
pub(crate) const MAX_UNPACKED: &str = "unpacked bytes";

/// Reads members from a stream.
#[derive(Debug)]
pub(crate) struct Members<'a, S> {
    stream: S,
    limits: &'a Limits,
    global: Pax,
    pub(super) offset: u64,
    /// Data of the current member that was not read yet, and the padding behind it.
    pub(super) remaining: u64,
    padding: u64,
    /// Bytes charged to `max_unpacked_bytes`.
    charged: u64,
    /// For messages about the data of the current member.
    current: Vec<u8>,
    end: End,
}

/// The extension headers in front of a member.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
    any: bool,
}

impl<'a, S: Stream> Members<'a, S> {
    pub(crate) fn new(stream: S, limits: &'a Limits) -> Self {
        Self {
            stream,
            limits,
            global: Pax::default(),
            offset: 0,
            remaining: 0,
            padding: 0,
            charged: 0,
            current: Vec::new(),
            end: End::default(),
        }
    }

    /// The next member, or `None` at the end. Data of the one before that was not read is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.skip_data()?;
        let start = self.offset;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header_block(extensions.any)? else {
                return Ok(None);
            };
            let header = Header::from_byte_slice(&block);
            let type_flag = header.as_old().linkflag[0];
            match type_flag {
                b'L' => extensions.name = Some(self.extension_text(header)?),
                b'K' => extensions.link = Some(self.extension_text(header)?),
                b'x' | b'X' => {
                    let at = self.offset;
                    let data = self.extension(header)?;
                    let result = extensions.pax.read(&data);
                    result.map_err(|what| Error::Damaged { offset: at, what })?;
                }
                b'g' => {
                    let at = self.offset;
                    let data = self.extension(header)?;
                    let mut global = std::mem::take(&mut self.global);
                    let result = global.read(&data);
                    result.map_err(|what| Error::Damaged { offset: at, what })?;
                    self.global = global.global();
                    // Nothing needs to follow it, and `git archive` writes it first.
                    continue;
                }
                // A volume label: a name and nothing else.
                b'V' => {
                    self.begin_data(size_of(header, self.offset)?)?;
                    self.skip_data()?;
                    continue;
                }
                b'M' | b'N' => {
                    return Err(self.damaged("a part of a multi-volume archive"));
                }
                _ => return self.member(header, extensions, start).map(Some),
            }
            extensions.any = true;
        }
    }

    /// The next piece of the current member's data; empty at its end.
    pub(crate) fn data(&mut self) -> Result<&[u8]> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let chunk = self.stream.chunk()?;
        if chunk.is_empty() {
            return Err(Error::Truncated {
                offset,
                within: format!("the data of {}", quote(&self.current)),
            });
        }
        let limit = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        Ok(&chunk[..chunk.len().min(limit)])
    }

    /// Marks `count` bytes of what [`Self::data`] returned as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.stream.consume(count);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset += count;
        self.remaining = self.remaining.saturating_sub(count);
    }

    /// Reads what follows the end, so that the decoder checks its sums and a pipe is read to its end.
    pub(crate) fn finish(mut self) -> Result<(End, S)> {
        let as_u64 = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
        let mut first_garbage = None;
        loop {
            let chunk = self.stream.chunk()?;
            if chunk.is_empty() {
                self.end.charged = self.charged;
                return Ok((self.end, self.stream));
            }
            let length = chunk.len();
            let is_garbage = |byte: &u8| *byte != 0;
            if let Some(last) = chunk.iter().rposition(is_garbage) {
                let first = chunk.iter().position(is_garbage).unwrap_or(last);
                let first = *first_garbage.get_or_insert(self.offset + as_u64(first));
                self.end.garbage_bytes = self.offset + as_u64(last) + 1 - first;
            }
            self.charge(as_u64(length))?;
            self.consume(length);
        }
    }

    pub(super) fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged {
            offset: self.offset,
            what,
        }
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.charged = self.charged.saturating_add(bytes);
        if self.charged > self.limits.max_unpacked_bytes {
            return Err(Error::Limit {
                what: MAX_UNPACKED,
                limit: self.limits.max_unpacked_bytes,
                offset: self.offset,
            });
        }
        Ok(())
    }

    /// Reads one header and checks its sum. `None` at the end of the archive.
    fn header_block(&mut self, must_follow: bool) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let offset = self.offset;
        let within = || String::from("a header");
        match self.fill(&mut block)? {
            BLOCK => {}
            0 if !must_follow => {
                self.end.unmarked = true;
                return Ok(None);
            }
            got => {
                return Err(Error::Truncated {
                    offset: offset + u64::try_from(got).unwrap_or(0),
                    within: within(),
                });
            }
        }
        if checksum_is_right(&block) {
            return Ok(Some(block));
        }
        // GNU tar ends at a lone zero block too.
        let what = match (block.iter().all(|byte| *byte == 0), must_follow) {
            (true, false) => return Ok(None),
            (true, true) => "the archive ends after an extension header",
            (false, _) => "a header with a wrong checksum",
        };
        Err(Error::Damaged { offset, what })
    }

    /// Fills as much of `buffer` as there is.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let chunk = self.stream.chunk()?;
            if chunk.is_empty() {
                break;
            }
            let count = chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&chunk[..count]);
            filled += count;
            self.stream.consume(count);
            self.offset += u64::try_from(count).unwrap_or(0);
        }
        // Headers too: a compressed archive may have nothing else, without end.
        self.charge(u64::try_from(filled).unwrap_or(u64::MAX))?;
        Ok(filled)
    }

    fn begin_data(&mut self, size: u64) -> Result<()> {
        self.charge(size)?;
        self.remaining = size;
        let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
        self.padding = size.next_multiple_of(block) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<()> {
        while self.remaining > 0 {
            let count = self.data()?.len();
            self.consume(count);
        }
        // Padding that is cut off at the end of the archive harms nobody; a missing header is noticed.
        self.remaining = std::mem::take(&mut self.padding);
        while self.remaining > 0 && !self.stream.chunk()?.is_empty() {
            let count = self.data()?.len();
            self.consume(count);
        }
        self.remaining = 0;
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = size_of(header, self.offset)?;
        let Some(length) = usize::try_from(size)
            .ok()
            .filter(|length| *length <= self.limits.max_header_bytes)
        else {
            return Err(Error::Limit {
                what: "bytes in an extension header",
                limit: u64::try_from(self.limits.max_header_bytes).unwrap_or(u64::MAX),
                offset: self.offset,
            });
        };
        self.current = b"an extension header".to_vec();
        self.begin_data(size)?;
        let mut data = Vec::with_capacity(length);
        while self.remaining > 0 {
            let chunk = self.data()?;
            data.extend_from_slice(chunk);
            let count = chunk.len();
            self.consume(count);
        }
        self.skip_data()?;
        Ok(data)
    }

    /// A GNU long name, which ends at its first NUL.
    fn extension_text(&mut self, header: &Header) -> Result<Vec<u8>> {
        Ok(header::text(&self.extension(header)?).to_vec())
    }

    fn member(&mut self, header: &Header, extensions: Extensions, offset: u64) -> Result<Member> {
        let old = header.as_old();
        let pax = extensions.pax;
        let name = pax.sparse.name.clone().or(pax.path).or(extensions.name);
        let name = name.unwrap_or_else(|| header::name(header));
        let path = MemberPath::parse(&name).map_err(|why| refused(&name, offset, why))?;
        let bad = |what| Error::Damaged { offset, what };
        let kind = kind_of(old.linkflag[0], &name);
        let mut member = Member {
            offset,
            path,
            kind,
            unknown_type: !matches!(old.linkflag[0], 0 | b'0'..=b'7' | b'D' | b'S'),
            link: pax
                .link
                .or(extensions.link)
                .unwrap_or_else(|| header::text(&old.linkname).to_vec()),
            mode: mode_of(&old.mode).ok_or_else(|| bad("a header with a bad mode"))?,
            uid: owner(pax.uid.or(self.global.uid), &old.uid)
                .ok_or_else(|| refused(&name, offset, Refusal::BadOwner))?,
            gid: owner(pax.gid.or(self.global.gid), &old.gid)
                .ok_or_else(|| refused(&name, offset, Refusal::BadOwner))?,
            mtime: match pax.mtime.or(self.global.mtime) {
                Some(time) => time,
                None => (
                    header::number(&old.mtime).ok_or_else(|| bad("a header with a bad time"))?,
                    0,
                ),
            },
            device: (0, 0),
            size: 0,
            sparse: None,
            xattrs: pax.xattrs,
            name,
        };
        self.current.clone_from(&member.name);
        match kind {
            Kind::File => {
                let size = match pax.size {
                    Some(size) => size,
                    None => size_of(header, offset)?,
                };
                self.begin_data(size)?;
                let map_in_data = pax.sparse.map_in_data;
                let map = pax.sparse.into_map().map_err(bad)?;
                member.sparse = match map {
                    _ if old.linkflag[0] == b'S' => Some(self.gnu_sparse(header)?),
                    Some(map) if map_in_data => Some(self.sparse_in_data(map.real_size)?),
                    map => map,
                };
                member.size = self.remaining;
                if let Some(map) = member.sparse.take() {
                    member.sparse = Some(map.checked(self.remaining).map_err(bad)?);
                }
            }
            Kind::CharDevice | Kind::BlockDevice => {
                member.device = device_of(header).ok_or_else(|| bad("bad device numbers"))?;
            }
            // Size and data of these are ignored, as GNU tar, Go and Python do; `D` (the list of a directory in
            // an incremental archive) does have data.
            Kind::Directory if old.linkflag[0] == b'D' => {
                self.begin_data(size_of(header, offset)?)?
            }
            Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Fifo => {}
        }
        Ok(member)
    }
}

/// Unknown types are files, as POSIX wants and GNU tar does; so is a v7 file whose name ends in a slash not.
fn kind_of(type_flag: u8, name: &[u8]) -> Kind {
    match type_flag {
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        0 | b'0' if name.ends_with(b"/") => Kind::Directory,
        _ => Kind::File,
    }
}

fn size_of(header: &Header, offset: u64) -> Result<u64> {
    unsigned(&header.as_old().size).ok_or(Error::Damaged {
        offset,
        what: "a header with a bad size",
    })
}

fn mode_of(field: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(field)? & 0o7777).ok()
}

/// An id from a PAX record or the header. All ones is "no id" to chown(2) and thus no owner.
fn owner(pax: Option<u64>, field: &[u8]) -> Option<u32> {
    let id = match pax {
        Some(id) => id,
        None => unsigned(field)?,
    };
    u32::try_from(id).ok().filter(|id| *id != u32::MAX)
}

fn device_of(header: &Header) -> Option<(u32, u32)> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return None,
    };
    Some((
        u32::try_from(unsigned(major)?).ok()?,
        u32::try_from(unsigned(minor)?).ok()?,
    ))
}
