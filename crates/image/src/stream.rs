//! Uncompressed bytes, as they come from the decoding thread.
//!
//! Reading, hashing and decoding run on one thread, unpacking on another, with a few large blocks going round
//! between them: memory is bounded, and neither side copies what it got from the other.

use crate::archive::BLOCK;
use crate::error::{Error, Result};
use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// A source of bytes in pieces.
pub(crate) trait Stream {
    /// What is there; empty at the end.
    fn chunk(&mut self) -> Result<&[u8]>;
    /// Marks the first `count` bytes of the chunk as read.
    fn consume(&mut self, count: usize);
}

/// Any buffered reader of uncompressed bytes.
#[derive(Debug)]
pub(crate) struct Plain<R> {
    pub(crate) reader: R,
    pub(crate) name: String,
}

impl<R: BufRead> Stream for Plain<R> {
    fn chunk(&mut self) -> Result<&[u8]> {
        match self.reader.fill_buf() {
            Ok(chunk) => Ok(chunk),
            Err(source) => Err(Error::Read {
                source_name: self.name.clone(),
                source,
            }),
        }
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }
}

/// Size of a block. Large enough that most files are written with one call, small enough to stay in the cache.
const BLOCK_BYTES: usize = 512 << 10;
/// Blocks in existence: one on each side and some between them.
const BLOCKS: usize = 6;

/// A buffer and how much of it is filled.
#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    filled: usize,
}

/// What the decoding thread says at the end.
type Message<T> = std::result::Result<Block, Result<T>>;

/// The receiving side. `T` is the decoding thread's result, there after the last byte.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    receiver: Receiver<Message<T>>,
    empties: Sender<Box<[u8]>>,
    current: Option<Block>,
    position: usize,
    end: Option<T>,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Filler<T> {
    sender: SyncSender<Message<T>>,
    empties: Receiver<Box<[u8]>>,
}

/// A pair of both.
pub(crate) fn blocks<T>() -> (Filler<T>, Blocks<T>) {
    let (sender, receiver) = sync_channel(BLOCKS);
    let (empty_sender, empty_receiver) = channel();
    for _ in 0..BLOCKS {
        // Cannot fail: the receiver is in this function.
        let _ = empty_sender.send(vec![0; BLOCK_BYTES].into_boxed_slice());
    }
    let filler = Filler {
        sender,
        empties: empty_receiver,
    };
    let blocks = Blocks {
        receiver,
        empties: empty_sender,
        current: None,
        position: 0,
        end: None,
    };
    (filler, blocks)
}

/// What fills blocks.
pub(crate) trait Fill<T> {
    /// Puts bytes into `buffer`, and says how many; 0 at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;
    /// The result, once there is no more to fill in.
    fn finish(self) -> Result<T>;
}

impl<T> Filler<T> {
    /// Fills blocks until `source` is at its end, then sends its result. Stops early, without a word, when the
    /// other side is gone: then there is nobody to tell.
    pub(crate) fn run(self, mut source: impl Fill<T>) {
        while let Ok(mut bytes) = self.empties.recv() {
            let mut filled = 0;
            let mut error = None;
            while filled < bytes.len() {
                match source.fill(&mut bytes[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(found) => {
                        error = Some(found);
                        break;
                    }
                }
            }
            let is_last = filled < bytes.len();
            if filled > 0 && self.sender.send(Ok(Block { bytes, filled })).is_err() {
                return;
            }
            if let Some(error) = error {
                let _ = self.sender.send(Err(Err(error)));
                return;
            }
            if is_last {
                let _ = self.sender.send(Err(source.finish()));
                return;
            }
        }
    }
}

/// Has a thread fill blocks from `source`. It is not joined: when the other side fails, it may still wait for a pipe that says
/// nothing. It ends with the next byte that it reads, or with the process.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    source: impl Fill<T> + Send + 'static,
) -> io::Result<Blocks<T>> {
    let (filler, blocks) = blocks();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || filler.run(source))?;
    Ok(blocks)
}

/// Whether an archive that begins like this has no entries.
pub(crate) fn is_zeros(head: &[u8]) -> bool {
    let first = &head[..head.len().min(2 * BLOCK)];
    first.len() >= BLOCK && first.iter().all(|byte| *byte == 0)
}

/// A writer whose bytes arrive at the other side.
#[derive(Debug)]
pub(crate) struct BlockWriter<T> {
    filler: Filler<T>,
    current: Option<Block>,
}

impl<T> Filler<T> {
    /// For what writes instead of being read.
    pub(crate) fn into_writer(self) -> BlockWriter<T> {
        BlockWriter {
            filler: self,
            current: None,
        }
    }
}

impl<T> BlockWriter<T> {
    /// Sends what is left, and the result.
    pub(crate) fn finish(mut self, result: Result<T>) {
        // If nobody listens any more, there is nobody to tell.
        let _ = io::Write::flush(&mut self);
        let _ = self.filler.sender.send(Err(result));
    }
}

impl<T> io::Write for BlockWriter<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let mut block = match self.current.take() {
            Some(block) => block,
            None => Block {
                bytes: self.filler.empties.recv().map_err(gone)?,
                filled: 0,
            },
        };
        let count = bytes.len().min(block.bytes.len() - block.filled);
        block.bytes[block.filled..block.filled + count].copy_from_slice(&bytes[..count]);
        block.filled += count;
        let is_full = block.filled == block.bytes.len();
        self.current = Some(block);
        if is_full {
            io::Write::flush(self)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(block) if block.filled > 0 => {
                let sent = self.filler.sender.send(Ok(block));
                sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl<T> Blocks<T> {
    /// The decoding thread's result, once the last chunk was read.
    pub(crate) fn into_end(self) -> Option<T> {
        self.end
    }
}

impl<T> Stream for Blocks<T> {
    fn chunk(&mut self) -> Result<&[u8]> {
        let used_up = |block: &Block| block.filled == self.position;
        if self.end.is_none() && self.current.as_ref().is_none_or(used_up) {
            self.position = 0;
            if let Some(block) = self.current.take() {
                // Fails when the other side has sent its last: the buffer is dropped.
                let _ = self.empties.send(block.bytes);
            }
            match self.receiver.recv() {
                Ok(Ok(block)) => self.current = Some(block),
                Ok(Err(end)) => self.end = Some(end?),
                // The thread is gone without a word: it panicked.
                Err(_) => {
                    return Err(Error::Read {
                        source_name: String::from("the decoding thread's data"),
                        source: io::ErrorKind::BrokenPipe.into(),
                    });
                }
            }
        }
        Ok(self
            .current
            .as_ref()
            .map_or(&[], |block| &block.bytes[self.position..block.filled]))
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}
