//! The bytes of a source as they are: buffered, hashed and counted on their way to a decoder.

use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER_BYTES: usize = 256 << 10;

/// A hashing, counting reader.
pub(crate) struct Input {
    inner: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    position: usize,
    filled: usize,
    sha256: Sha256,
    count: Arc<AtomicU64>,
}

/// Marks an error of the source, so that it is not taken for damaged compressed data.
#[derive(Debug)]
struct ReadError(io::Error);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ReadError {}

/// Whether an error came from the source itself.
pub(super) fn is_read_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<ReadError>())
}

impl Input {
    /// Reads from `inner`; `count` shows others how far it is.
    pub(crate) fn new(inner: Box<dyn Read + Send>, count: Arc<AtomicU64>) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            position: 0,
            filled: 0,
            sha256: Sha256::new(),
            count,
        }
    }

    /// Skips zero bytes, at most `limit`, and returns what follows: empty at the end.
    pub(super) fn skip_zeros(&mut self, limit: u64) -> io::Result<&[u8]> {
        let mut skipped = 0u64;
        loop {
            let chunk = self.fill_buf()?;
            let zeros = chunk.iter().take_while(|byte| **byte == 0).count();
            let done = chunk.is_empty() || zeros < chunk.len();
            self.consume(zeros);
            skipped = within(skipped, zeros, limit)?;
            if done {
                return self.peek();
            }
        }
    }

    /// At least four bytes (the longest magic number in use here is found with six at most in one read), if there
    /// are as many: a buffer may end in the middle of a magic number.
    fn peek(&mut self) -> io::Result<&[u8]> {
        const MAGIC_BYTES: usize = 6;
        if self.filled - self.position < MAGIC_BYTES {
            self.buffer.copy_within(self.position..self.filled, 0);
            self.filled -= self.position;
            self.position = 0;
            while self.filled < MAGIC_BYTES {
                let count = read_from(&mut *self.inner, &mut self.buffer[self.filled..])?;
                if count == 0 {
                    break;
                }
                self.took(self.filled, count);
                self.filled += count;
            }
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    /// Reads to the end, at most `limit` bytes, and says how much that was.
    pub(super) fn drain(&mut self, limit: u64) -> io::Result<u64> {
        let mut drained = 0u64;
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(drained);
            }
            self.consume(count);
            drained = within(drained, count, limit)?;
        }
    }

    /// SHA-256 and number of the bytes read.
    pub(super) fn finish(self) -> ([u8; 32], u64) {
        (
            self.sha256.finalize().into(),
            self.count.load(Ordering::Relaxed),
        )
    }

    fn took(&mut self, from: usize, count: usize) {
        self.sha256.update(&self.buffer[from..from + count]);
        self.count.fetch_add(as_u64(count), Ordering::Relaxed);
    }
}

impl Read for Input {
    /// Past the buffer where that is empty: an archive that is not compressed is not copied twice.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position < self.filled {
            let chunk = self.fill_buf()?;
            let count = chunk.len().min(out.len());
            out[..count].copy_from_slice(&chunk[..count]);
            self.consume(count);
            return Ok(count);
        }
        let count = read_from(&mut *self.inner, out)?;
        self.sha256.update(&out[..count]);
        self.count.fetch_add(as_u64(count), Ordering::Relaxed);
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.filled {
            self.position = 0;
            self.filled = 0;
            let count = read_from(&mut *self.inner, &mut self.buffer)?;
            self.took(0, count);
            self.filled = count;
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.filled);
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

fn read_from(inner: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io::Error::new(error.kind(), ReadError(error))),
            Ok(count) => return Ok(count),
        }
    }
}

/// Adds up what comes after the compressed data, which on a pipe may never end.
fn within(sum: u64, more: usize, limit: u64) -> io::Result<u64> {
    let sum = sum.saturating_add(as_u64(more));
    if sum > limit {
        return Err(io::Error::other(
            "too many bytes after the end of the compressed data",
        ));
    }
    Ok(sum)
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
