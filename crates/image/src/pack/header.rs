//! Writing tar headers: ustar, with PAX records for everything that does not fit.
//!
//! Deterministic: the same entry gives the same bytes, on every host and at every time.

use crate::archive::BLOCK;

/// What a header says.
#[derive(Debug, Default)]
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) type_flag: u8,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    /// Bytes of data that follow.
    pub(crate) size: u64,
    /// Whether a record says the size even where the header can, so that the header's length does not depend on it.
    pub(crate) size_record: bool,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Real size of a sparse file, whose map is at the start of the data (GNU, PAX version 1.0).
    pub(crate) sparse: Option<u64>,
}

/// Largest number in a field of `digits` octal digits.
const fn largest(digits: u32) -> u64 {
    (1 << (3 * digits)) - 1
}

/// All blocks of the entry's header.
pub(crate) fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let records = records(entry);
    let mut out = Vec::with_capacity(3 * BLOCK);
    if !records.is_empty() {
        let extension = Entry {
            path: b"PaxHeaders/entry",
            type_flag: b'x',
            mode: 0o644,
            size: length(&records),
            ..Entry::default()
        };
        out.extend_from_slice(&block(&extension));
        out.extend_from_slice(&records);
        pad(&mut out);
    }
    out.extend_from_slice(&block(entry));
    out
}

/// Fills up the last block.
pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// PAX records for what a ustar header cannot hold.
fn records(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(real_size) = entry.sparse {
        record(&mut out, b"GNU.sparse.major", b"1");
        record(&mut out, b"GNU.sparse.minor", b"0");
        record(&mut out, b"GNU.sparse.name", entry.path);
        record(
            &mut out,
            b"GNU.sparse.realsize",
            real_size.to_string().as_bytes(),
        );
    } else if entry.path.len() > 100 {
        record(&mut out, b"path", entry.path);
    }
    if entry.link.len() > 100 {
        record(&mut out, b"linkpath", entry.link);
    }
    for (key, value, digits, always) in [
        (&b"size"[..], entry.size, 11, entry.size_record),
        (b"uid", u64::from(entry.uid), 7, false),
        (b"gid", u64::from(entry.gid), 7, false),
    ] {
        if always || value > largest(digits) {
            record(&mut out, key, value.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.mtime;
    if nanoseconds != 0 || u64::try_from(seconds).is_ok_and(|it| it > largest(11)) || seconds < 0 {
        record(&mut out, b"mtime", time(seconds, nanoseconds).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut out, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    out
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Decimal seconds. Nanoseconds count upwards, digits after a minus sign downwards.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// One ustar header. What does not fit is cut: a record says it all.
fn block(entry: &Entry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, limit: usize, bytes: &[u8]| {
        let count = bytes.len().min(limit);
        block[at..at + count].copy_from_slice(&bytes[..count]);
    };
    let octal = |value: u64, digits: u32| {
        let width = usize::try_from(digits).unwrap_or(0);
        format!("{:0width$o}", value.min(largest(digits)))
    };
    put(0, 100, entry.path);
    put(100, 8, octal(u64::from(entry.mode), 7).as_bytes());
    put(108, 8, octal(u64::from(entry.uid), 7).as_bytes());
    put(116, 8, octal(u64::from(entry.gid), 7).as_bytes());
    put(124, 12, octal(entry.size, 11).as_bytes());
    let seconds = u64::try_from(entry.mtime.0).unwrap_or(0);
    put(136, 12, octal(seconds, 11).as_bytes());
    put(156, 1, &[entry.type_flag]);
    put(157, 100, entry.link);
    put(257, 8, b"ustar\x0000");
    put(329, 8, octal(u64::from(entry.device.0), 7).as_bytes());
    put(337, 8, octal(u64::from(entry.device.1), 7).as_bytes());
    put(148, 8, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Kind, Members};
    use crate::limits::Limits;
    use crate::stream::Plain;

    #[test]
    fn what_was_written_is_read() {
        let path = format!("{}/x", "long/".repeat(40));
        let entry = Entry {
            path: path.as_bytes(),
            type_flag: b'0',
            mode: 0o4755,
            uid: 4_000_000_000,
            gid: 5,
            mtime: (-2, 750_000_000),
            size: 0,
            xattrs: vec![(b"user.x".to_vec(), b"\n\0\n".to_vec())],
            ..Entry::default()
        };
        let limits = Limits::default();
        let bytes = encode(&entry);
        let stream = Plain {
            reader: &bytes[..],
            name: String::new(),
        };
        let member = Members::new(stream, &limits).next().unwrap().unwrap();
        assert_eq!(member.name, path.as_bytes());
        assert_eq!(member.kind, Kind::File);
        assert_eq!(
            (member.mode, member.uid, member.gid),
            (0o4755, entry.uid, 5)
        );
        assert_eq!(member.mtime, entry.mtime);
        assert_eq!(member.xattrs, entry.xattrs);
    }

    #[test]
    fn times_read_as_they_are_written() {
        for (seconds, nanoseconds, text) in [
            (1, 500_000_000, "1.5"),
            (100, 0, "100"),
            (-5, 0, "-5"),
            (-5, 250_000_000, "-4.75"),
            (-1, 1, "-0.999999999"),
        ] {
            assert_eq!(time(seconds, nanoseconds), text);
        }
    }
}
