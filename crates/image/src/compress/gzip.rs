//! gzip (RFC 1952), by flate2 with zlib-rs.

use super::{Codec, Input, Member};
use flate2::bufread::GzDecoder;

pub(super) static CODEC: Codec = Codec {
    name: "gzip",
    // The third byte is the method; 8 (deflate) is the only one ever used.
    matches: |head| head.starts_with(&[0x1f, 0x8b, 8]),
    begin: |input, _limits| Ok(Box::new(GzDecoder::new(input))),
};

impl Member for GzDecoder<Input> {
    fn into_input(self: Box<Self>) -> Input {
        (*self).into_inner()
    }
}
