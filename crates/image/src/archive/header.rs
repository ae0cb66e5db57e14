//! One 512-byte header block: checksum and number fields.
//!
//! Numbers are octal text or, with the top bit of the first byte set, big-endian two's complement ("base-256",
//! GNU tar's manual); the `tar` crate reads only the lower 64 bits of the latter and no negative ones.

use super::BLOCK;
use tar::Header;

/// Offset and length of the checksum field (POSIX.1-2024, pax, "ustar Interchange Format").
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether a block could be the first of an archive: its checksum is right.
pub(crate) fn looks_like_tar(block: &[u8]) -> bool {
    <&[u8; BLOCK]>::try_from(block.get(..BLOCK).unwrap_or_default()).is_ok_and(checksum_is_right)
}

/// Compares the checksum as unsigned bytes, and as signed ones, which some old programs summed up.
pub(crate) fn checksum_is_right(block: &[u8; BLOCK]) -> bool {
    let Some(expected) = number(&block[CHECKSUM]) else {
        return false;
    };
    let mut unsigned = 0i64;
    let mut signed = 0i64;
    for (at, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    // An all-zero block sums to 256 with an empty checksum field: the end of an archive, no header.
    expected != 0 && (expected == unsigned || expected == signed)
}

/// A number field. `None` if it is neither octal nor base-256, or does not fit.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign; bits 5..0 of the first byte are the top of the value.
        let negative = first & 0x40 != 0;
        let mut value = if negative { -1i128 } else { 0 };
        let top = if negative { first } else { first & 0x3f };
        for byte in std::iter::once(&top).chain(&field[1..]) {
            // 12 bytes at most: this cannot overflow 128 bits.
            value = (value << 8) | i128::from(*byte);
        }
        return i64::try_from(value).ok();
    }
    let mut value = 0i64;
    let mut digits = field
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| !matches!(**byte, 0 | b' '));
    digits.try_for_each(|byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
        Some(())
    })?;
    Some(value)
}

/// A number field that cannot be negative.
pub(crate) fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(number(field)?).ok()
}

/// The text of a field, up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// The member's name: `prefix/name` in ustar headers, `name` elsewhere (GNU keeps other things there).
pub(crate) fn name(header: &Header) -> Vec<u8> {
    let short = text(&header.as_old().name);
    match header.as_ustar().map(|ustar| text(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", short].concat(),
        Some(_) | None => short.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777777\0", Some(0o77777777777)),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
                Some(-2),
            ),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn checksums() {
        let mut header = Header::new_gnu();
        header.set_path("etc/\u{e9}\u{e9}").unwrap();
        header.set_cksum();
        assert!(looks_like_tar(header.as_bytes()));
        header.as_mut_bytes()[0] ^= 1;
        assert!(!looks_like_tar(header.as_bytes()));
        assert!(!looks_like_tar(&[0; 512]));
        assert!(!looks_like_tar(b"short"));
    }
}
