//! Layers over one another: what an upper one takes away is removed from what the lower ones have made.
//!
//! # Source
//! OCI image specification 1.1, layer.md, "Whiteouts": `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all that they
//! have in its directory; neither hides anything of its own layer, wherever in it it stands. Other names with `.wh..wh.` are
//! AUFS' own (moby `pkg/archive/whiteouts.go`).

use super::report::UnpackReport;
use super::tree::{Missing, TreeError};
use super::{Context, Unpacker};
use crate::archive::{Kind, Member, MemberPath, Members};
use crate::error::{Refusal, Result};
use crate::limits::Limits;
use crate::stream::Stream;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::HashSet;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OTHER: &[u8] = b".wh..wh.";

/// What is known of the layer that is being unpacked.
#[derive(Debug, Default)]
pub(super) struct Upper {
    /// What it has made: not hidden by its own whiteouts.
    made: HashSet<MemberPath>,
    /// Whether there is one below, of which something could be hidden.
    has_lower: bool,
}

/// Unpacks layers into one tree, lowest first.
pub(crate) struct LayerUnpacker<'a>(Unpacker<'a>);

impl<'a> LayerUnpacker<'a> {
    pub(crate) fn new(root: OwnedFd, context: Context<'a>) -> Self {
        let mut unpacker = Unpacker::new(root, context);
        unpacker.upper = Some(Upper::default());
        Self(unpacker)
    }

    /// Unpacks the next layer. Returns what it costs of `max_unpacked_bytes`, and the stream at its end.
    pub(crate) fn apply<S: Stream>(&mut self, stream: S, limits: &Limits) -> Result<(u64, S)> {
        let unpacker = &mut self.0;
        let mut members = Members::new(stream, limits);
        while let Some(member) = members.next()? {
            match Mark::of(&member)? {
                None => {
                    let path = member.path.clone();
                    unpacker.entry(member, &mut members)?;
                    unpacker.keep(path);
                }
                Some(mark) => unpacker.hide(&member, &mark)?,
            }
            unpacker.show();
        }
        let (end, stream) = members.finish()?;
        unpacker.report.unmarked_end |= end.unmarked;
        unpacker.report.garbage_bytes += end.garbage_bytes;
        unpacker.upper = Some(Upper {
            has_lower: true,
            ..Upper::default()
        });
        Ok((end.charged, stream))
    }

    /// Gives directories their attributes.
    pub(crate) fn finish(mut self) -> Result<UnpackReport> {
        self.0.finish_directories()?;
        Ok(self.0.report)
    }
}

/// What a member takes away instead of adding it.
enum Mark {
    /// This, and all that is in it.
    One(MemberPath),
    /// All that is in this directory.
    All(MemberPath),
    Nothing,
}

impl Mark {
    fn of(member: &Member) -> Result<Option<Self>> {
        let (parent, name) = member.path.split();
        let Some(hidden) = name.strip_prefix(WHITEOUT) else {
            return Ok(None);
        };
        // A directory of that name is none in any implementation, and would be lost: nothing says what it means.
        if member.kind == Kind::Directory {
            return Err(member.refused(Refusal::BadWhiteout));
        }
        Ok(Some(match (name, hidden) {
            (OPAQUE, _) => Self::All(MemberPath::from_checked(parent)),
            (_, b"" | b"." | b"..") => return Err(member.refused(Refusal::BadWhiteout)),
            _ if name.starts_with(OTHER) => Self::Nothing,
            _ => Self::One(MemberPath::from_checked(&join(parent, hidden))),
        }))
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent.is_empty() {
        true => name.to_vec(),
        false => [parent, name].join(&b'/'),
    }
}

impl Unpacker<'_> {
    /// Notes what a layer has made.
    fn keep(&mut self, path: MemberPath) {
        if let Some(upper) = self.upper.as_mut().filter(|upper| upper.has_lower) {
            upper.made.insert(path);
        }
    }

    fn hide(&mut self, member: &Member, mark: &Mark) -> Result<()> {
        let Some(upper) = self.upper.as_ref().filter(|upper| upper.has_lower) else {
            return Ok(());
        };
        // What is hidden must be in a directory of the tree, not behind a symlink.
        let inside = match mark {
            Mark::One(path) => path.split().0,
            Mark::All(path) => path.as_bytes(),
            Mark::Nothing => return Ok(()),
        };
        let mut none = 0;
        match self.tree.directory(inside, Missing::Fail, &mut none) {
            Ok(_) => {}
            Err(TreeError::Failed(_, Errno::NOENT)) => return Ok(()),
            Err(error) => return Err(self.error(member, error)),
        }
        let keeps = |path: &MemberPath| upper.made.contains(path);
        let result = match mark {
            Mark::One(path) => self.tree.remove(path, keeps),
            Mark::All(path) => self.tree.clear(path, keeps),
            Mark::Nothing => Ok(()),
        };
        result.map_err(|error| self.error(member, error))
    }

    /// Makes room for what is no directory where a lower layer has one: the upper one hides it as a whole.
    pub(super) fn hide_below(&mut self, member: &Member) -> Result<()> {
        let Some(upper) = self.upper.as_ref().filter(|upper| upper.has_lower) else {
            return Ok(());
        };
        let keeps = |path: &MemberPath| upper.made.contains(path);
        let result = self.tree.clear(&member.path, keeps);
        result.map_err(|error| self.error(member, error))
    }
}
