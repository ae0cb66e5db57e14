//! xz, by liblzma. The header says how much memory decoding takes, up to 4 GiB, so that is limited.

use super::{Codec, Input, Member};
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

pub(super) static CODEC: Codec = Codec {
    name: "xz",
    matches: |head| head.starts_with(b"\xfd7zXZ\0"),
    begin: |input, limits| {
        let stream = Stream::new_stream_decoder(limits.max_decoder_bytes, 0)?;
        Ok(Box::new(XzDecoder::new_stream(input, stream)))
    },
};

impl Member for XzDecoder<Input> {
    fn into_input(self: Box<Self>) -> Input {
        (*self).into_inner()
    }
}
