//! Compression formats: told apart by their first bytes, decoded member by member.
//!
//! gzip, xz, zstd and bzip2 all allow several compressed streams in a row in one file (`cat a.gz b.gz`, pigz,
//! pzstd, lbzip2), and zero bytes for padding after them; what else follows is ignored, but reported. One file
//! per format, and one line in [`CODECS`].

mod bzip2;
mod gzip;
mod input;
mod xz;
mod zstd;

pub(crate) use input::Input;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::stream::Fill;
use std::io::{self, Read};

/// A compression format.
#[derive(Debug)]
pub(crate) struct Codec {
    /// Its usual name.
    pub(crate) name: &'static str,
    /// Whether a stream begins with these bytes.
    matches: fn(&[u8]) -> bool,
    /// Decodes one stream.
    begin: fn(Input, &Limits) -> io::Result<Box<dyn Member>>,
}

/// The decoder of one stream.
trait Member: Read + Send {
    /// The input, right behind the stream.
    fn into_input(self: Box<Self>) -> Input;
}

/// Every format, sorted.
static CODECS: [&Codec; 4] = [&bzip2::CODEC, &gzip::CODEC, &xz::CODEC, &zstd::CODEC];

/// The format that begins like this.
pub(crate) fn detect(head: &[u8]) -> Option<&'static Codec> {
    CODECS.into_iter().find(|codec| (codec.matches)(head))
}

enum State {
    Plain(Input),
    Between(Input),
    Member(Box<dyn Member>),
    End(Input),
    Failed,
}

/// What an input holds, uncompressed.
pub(crate) struct Decoder {
    state: State,
    codec: Option<&'static Codec>,
    limits: Limits,
    source_name: String,
    produced: u64,
    garbage: u64,
}

/// What is known after the last byte.
#[derive(Debug, Clone)]
pub(crate) struct Sum {
    /// SHA-256 of the input as it was.
    pub(crate) sha256: [u8; 32],
    /// Its size.
    pub(crate) bytes: u64,
    /// Bytes of it behind the last compressed stream, without padding.
    pub(crate) garbage_bytes: u64,
}

impl Decoder {
    pub(crate) fn new(
        input: Input,
        codec: Option<&'static Codec>,
        limits: &Limits,
        source_name: &str,
    ) -> Self {
        Self {
            state: match codec {
                Some(_) => State::Between(input),
                None => State::Plain(input),
            },
            codec,
            limits: limits.clone(),
            source_name: source_name.to_owned(),
            produced: 0,
            garbage: 0,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let state = std::mem::replace(&mut self.state, State::Failed);
            let (state, result) = self.step(state, buffer);
            self.state = state;
            match result {
                Ok(Some(count)) => {
                    self.produced += u64::try_from(count).unwrap_or(u64::MAX);
                    return Ok(count);
                }
                Ok(None) => {}
                Err(source) => return Err(self.error(source)),
            }
        }
    }

    /// One step: `Ok(None)` when there is more to do before anything can be returned.
    fn step(&mut self, state: State, buffer: &mut [u8]) -> (State, io::Result<Option<usize>>) {
        match state {
            State::Plain(mut input) => match input.read(buffer) {
                Ok(0) => (State::End(input), Ok(Some(0))),
                result => (State::Plain(input), result.map(Some)),
            },
            State::Between(mut input) => match input.skip_zeros(self.limits.max_unpacked_bytes) {
                Ok([]) => (State::End(input), Ok(Some(0))),
                Ok(head) => match self.codec.filter(|codec| (codec.matches)(head)) {
                    Some(codec) => match (codec.begin)(input, &self.limits) {
                        Ok(member) => (State::Member(member), Ok(None)),
                        Err(error) => (State::Failed, Err(error)),
                    },
                    None => match input.drain(self.limits.max_unpacked_bytes) {
                        Ok(garbage) => {
                            self.garbage = garbage;
                            (State::End(input), Ok(Some(0)))
                        }
                        Err(error) => (State::Failed, Err(error)),
                    },
                },
                Err(error) => (State::Failed, Err(error)),
            },
            State::Member(mut member) => match member.read(buffer) {
                Ok(0) => (State::Between(member.into_input()), Ok(None)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    (State::Member(member), Ok(None))
                }
                Err(error) => (State::Failed, Err(error)),
                Ok(count) => (State::Member(member), Ok(Some(count))),
            },
            State::End(input) => (State::End(input), Ok(Some(0))),
            State::Failed => (State::Failed, Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn error(&self, source: io::Error) -> Error {
        match self.codec {
            Some(codec) if !input::is_read_error(&source) => Error::Decompress {
                format: codec.name,
                offset: self.produced,
                source,
            },
            Some(_) | None => Error::Read {
                source_name: self.source_name.clone(),
                source,
            },
        }
    }
}

impl Fill<Sum> for Decoder {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.read(buffer)
    }

    fn finish(self) -> Result<Sum> {
        match self.state {
            State::End(input) => {
                let (sha256, bytes) = input.finish();
                Ok(Sum {
                    sha256,
                    bytes,
                    garbage_bytes: self.garbage,
                })
            }
            State::Plain(_) | State::Between(_) | State::Member(_) | State::Failed => {
                Err(self.error(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("codec", &self.codec.map(|codec| codec.name))
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_sorted_and_distinct() {
        assert!(CODECS.is_sorted_by_key(|codec| codec.name));
        for head in [
            &b"BZh91AY&SY"[..],
            b"\x1f\x8b\x08",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
        ] {
            let matching = CODECS.iter().filter(|codec| (codec.matches)(head));
            assert_eq!(matching.count(), 1);
        }
        assert!(detect(b"").is_none());
    }
}
