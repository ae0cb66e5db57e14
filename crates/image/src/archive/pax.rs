//! PAX extended headers: records of `LENGTH KEY=VALUE\n` that override or extend the next ustar header.
//!
//! Values are binary and may hold newlines, so records are cut by their length only. Unknown keys are skipped,
//! as POSIX wants. Extended attributes come as `SCHILY.xattr.NAME` (star, GNU tar, Go), as
//! `LIBARCHIVE.xattr.NAME` (percent-encoded name, base64 value; bsdtar writes both) and, for SELinux labels
//! by GNU tar, as `RHT.security.selinux`.

use super::acl;
use super::sparse::PaxSparse;

/// A point in time: seconds since the epoch, and nanoseconds that count upwards from there.
pub(crate) type Time = (i64, u32);

/// What a PAX header says. `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: PaxSparse,
}

impl Pax {
    /// Adds the records of a header to what is known, later ones winning.
    ///
    /// # Errors
    /// What is wrong with a record.
    pub(crate) fn read(&mut self, mut data: &[u8]) -> Result<(), &'static str> {
        // Some writers pad with NULs up to the block and count them in the size.
        while data.first().is_some_and(|byte| *byte != 0) {
            let (key, value, rest) = record(data).ok_or("malformed PAX record")?;
            self.set(key, value)?;
            data = rest;
        }
        Ok(())
    }

    /// What of it is believed for more than one member. Nobody writes more, and it is kept until the end.
    pub(crate) fn global(self) -> Self {
        Self {
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            ..Self::default()
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => self.path = non_empty(value),
            b"linkpath" => self.link = non_empty(value),
            b"size" => self.size = parse(value, decimal, "bad size in a PAX record")?,
            b"uid" => self.uid = parse(value, decimal, "bad uid in a PAX record")?,
            b"gid" => self.gid = parse(value, decimal, "bad gid in a PAX record")?,
            b"mtime" => self.mtime = parse(value, time, "bad mtime in a PAX record")?,
            b"SCHILY.acl.access" => self.set_acl(b"system.posix_acl_access", value)?,
            b"SCHILY.acl.default" => self.set_acl(b"system.posix_acl_default", value)?,
            b"RHT.security.selinux" => self.set_xattr(b"security.selinux", value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_xattr(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = percent_decoded(name).ok_or("bad name of an extended attribute")?;
                    // bsdtar writes SCHILY.xattr too, and there the value is as it is.
                    if !self.xattrs.iter().any(|(known, _)| *known == name) {
                        let value = base64(value).ok_or("bad base64 in an extended attribute")?;
                        self.set_xattr(&name, &value)?;
                    }
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_acl(&mut self, name: &[u8], text: &[u8]) -> Result<(), &'static str> {
        // One byte is no ACL to the kernel: what is not understood is counted as an attribute that cannot be set.
        self.set_xattr(name, &acl::encode(text).unwrap_or_else(|| vec![0]))
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        // Linux lists at most 64 KiB of names per file; a search among more would take its time.
        const MAX_XATTRS: usize = 4096;
        self.xattrs.retain(|(known, _)| known != name);
        if self.xattrs.len() >= MAX_XATTRS {
            return Err("too many extended attributes for one entry");
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// Splits off one record: its key, its value, and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..blank])?).ok()?;
    // At least a blank, '=' and newline; the length counts its own digits too.
    let body = data.get(blank + 1..length)?;
    let (newline, body) = body.split_last()?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    if *newline != b'\n' || equals == 0 {
        return None;
    }
    Some((&body[..equals], &body[equals + 1..], &data[length..]))
}

/// An empty value takes an earlier or global one back.
fn non_empty(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn parse<T>(
    value: &[u8],
    parser: fn(&[u8]) -> Option<T>,
    what: &'static str,
) -> Result<Option<T>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    parser(value).map(Some).ok_or(what)
}

/// A decimal number that fits a file size.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value <= i64::MAX.cast_unsigned()).then_some(value)
}

/// Seconds with an optional sign and fraction: `1700000000.25`, `-1.5`.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds = 0u32;
    for at in 0..9 {
        let digit = fraction.get(at).map_or(0, |byte| byte - b'0');
        nanoseconds = nanoseconds * 10 + u32::from(digit);
    }
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // Nanoseconds count upwards: -1.25 s is 0.75 s after -2 s.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    Some(out)
}

/// RFC 4648 base64, padding optional: libarchive leaves it out.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0u32;
    let mut count = 0u32;
    for byte in text.iter().filter(|byte| !matches!(**byte, b'=' | b'\n')) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax::default();
        pax.read(data).map(|()| pax)
    }

    #[test]
    fn values_may_hold_newlines() {
        let mut data = b"30 mtime=1350244992.023960108\n".to_vec();
        data.extend_from_slice(b"27 SCHILY.xattr.user.x=a\n\0\n");
        data.extend_from_slice(b"12 path=a/b\n");
        let pax = read(&data).unwrap();
        assert_eq!(pax.mtime, Some((1_350_244_992, 23_960_108)));
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"a\n\0".to_vec())]);
    }

    #[test]
    fn malformed_records_are_errors() {
        for data in [
            "x",
            "5 a=b",
            "99 a=b\n",
            "6 =ab\n",
            "6 abc\n",
            "0 a=b\n",
            "3 a=b\n",
            "18446744073709551616 a=b\n",
            "12 size=abc\n",
            "31 LIBARCHIVE.xattr.user.x=?!?\n",
        ] {
            assert!(read(data.as_bytes()).is_err(), "{data:?}");
        }
        assert_eq!(read(b"\0\0\0").unwrap(), Pax::default());
    }

    #[test]
    fn times_count_upwards() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn libarchive_attributes() {
        let pax = read(b"39 LIBARCHIVE.xattr.user.a%3Db=aGVsbG8\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.a=b".to_vec(), b"hello".to_vec())]);
        let both = b"32 LIBARCHIVE.xattr.user.x=AAAA\n28 SCHILY.xattr.user.x=abcd\n";
        let pax = read(both).unwrap();
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"abcd".to_vec())]);
    }
}
