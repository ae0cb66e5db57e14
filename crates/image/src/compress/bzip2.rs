//! bzip2, by libbz2-rs.

use super::{Codec, Input, Member};
use bzip2::bufread::BzDecoder;

pub(super) static CODEC: Codec = Codec {
    name: "bzip2",
    // `BZh`, then the block size as a digit.
    matches: |head| {
        head.starts_with(b"BZh") && head.get(3).is_some_and(|size| matches!(size, b'1'..=b'9'))
    },
    begin: |input, _limits| Ok(Box::new(BzDecoder::new(input))),
};

impl Member for BzDecoder<Input> {
    fn into_input(self: Box<Self>) -> Input {
        (*self).into_inner()
    }
}
