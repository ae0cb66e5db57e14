//! Zstandard (RFC 8878), by libzstd. The window is limited like xz' memory; zstd(1) itself stops at 128 MiB.

use super::{Codec, Input, Member};
use zstd::stream::read::Decoder;

pub(super) static CODEC: Codec = Codec {
    name: "zstd",
    // A frame, or a skippable frame (0x184D2A5?), with which pzstd begins.
    matches: |head| {
        head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
    },
    begin: |input, limits| {
        let mut decoder = Decoder::with_buffer(input)?;
        // The kernel of the format allows 10..=31.
        let log = limits.max_decoder_bytes.max(1024).ilog2().min(31);
        decoder.window_log_max(log)?;
        Ok(Box::new(decoder.single_frame()))
    },
};

impl Member for Decoder<'static, Input> {
    fn into_input(self: Box<Self>) -> Input {
        (*self).finish()
    }
}
