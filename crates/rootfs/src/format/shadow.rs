//! shadow(5), and the kinds of password hashes that crypt(5) names.
//!
//! Hashes sit in a type that does not print itself, so that none ends up in a log or a document.

use super::{Lines, numbered};
use std::fmt;

/// The second field of shadow(5) or passwd(5).
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(pub String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// An account's password and its ageing. Days count from 1970-01-01; an empty field is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Login name.
    pub name: String,
    /// The hash, or what stands in its place.
    pub hash: Hash,
    /// Day of the last change; 0 asks for a new password at the next login.
    pub last_change: Option<u64>,
    /// Days after which it must be changed.
    pub max_days: Option<u64>,
    /// Days after that for which it may still be changed; then the account is closed.
    pub inactive_days: Option<u64>,
    /// Day on which the account expires.
    pub expire: Option<u64>,
    /// Line number from 1.
    pub line: u32,
}

/// What a password field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No password is asked for.
    Empty,
    /// No password can be right.
    Locked,
    /// A hash, by the name of its method.
    Hashed(&'static str),
}

/// Parses shadow(5). Lines with fewer than two fields are left out; older systems write fewer than nine.
pub fn parse(text: &str) -> Vec<Entry> {
    numbered(text)
        .filter_map(|(line, content)| {
            let fields: Vec<&str> = content.trim_end().split(':').collect();
            let (&name, &hash) = (fields.first()?, fields.get(1)?);
            if name.is_empty() || name.starts_with(['#', '+', '-']) {
                return None;
            }
            let days = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
            Some(Entry {
                name: name.to_owned(),
                hash: Hash(hash.to_owned()),
                last_change: days(2),
                max_days: days(4),
                inactive_days: days(6),
                expire: days(7),
                line,
            })
        })
        .collect()
}

/// The text with another hash in an account's line, or with a new line for it. All other fields stay, unless they would close the
/// account on day `today` or ask for a new password at once (last change 0): then those of its ageing go, and the last change is
/// today.
pub fn set_password(text: &str, name: &str, hash: &str, today: u64) -> String {
    let mut lines = Lines::parse(text);
    match parse(text).into_iter().find(|entry| entry.name == name) {
        Some(entry) => {
            let content = lines.get(entry.line).unwrap_or_default().to_owned();
            let mut fields: Vec<&str> = content.split(':').collect();
            let day = today.to_string();
            if let Some(field) = fields.get_mut(1) {
                *field = hash;
            }
            if entry.is_expired(today) || entry.last_change == Some(0) {
                for (index, value) in [(2, day.as_str()), (6, ""), (7, "")] {
                    if let Some(field) = fields.get_mut(index) {
                        *field = value;
                    }
                }
            }
            lines.replace(entry.line, &fields.join(":"));
        }
        None => lines.push(&format!("{name}:{hash}:{today}:0:99999:7:::")),
    }
    lines.to_string()
}

impl Entry {
    /// Whether the account is closed on day `today`: expired, or its password too old to be changed even.
    ///
    /// # Source
    /// shadow(5); pam_unix `check_shadow_expiry`.
    pub fn is_expired(&self, today: u64) -> bool {
        if self.expire.is_some_and(|day| day > 0 && today >= day) {
            return true;
        }
        match (self.last_change, self.max_days, self.inactive_days) {
            // 99999 is how "never" is written.
            (Some(last @ 1..), Some(max @ ..99999), Some(inactive)) => {
                today > last.saturating_add(max).saturating_add(inactive)
            }
            _ => false,
        }
    }
}

impl Hash {
    /// What the field means, told from its prefix as crypt(5) lists them.
    pub fn kind(&self) -> Kind {
        const PREFIXES: &[(&str, &str)] = &[
            ("$y$", "yescrypt"),
            ("$gy$", "gost-yescrypt"),
            ("$7$", "scrypt"),
            ("$2a$", "bcrypt"),
            ("$2b$", "bcrypt"),
            ("$2x$", "bcrypt"),
            ("$2y$", "bcrypt"),
            ("$6$", "sha512crypt"),
            ("$5$", "sha256crypt"),
            ("$sha1", "sha1crypt"),
            ("$md5", "sunmd5"),
            ("$1$", "md5crypt"),
            ("$3$", "nt"),
        ];
        let text = self.0.as_str();
        if text.is_empty() {
            return Kind::Empty;
        }
        if let Some((_, name)) = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Kind::Hashed(name);
        }
        let is_base64 = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'_'));
        match text.len() {
            13 if is_base64 => Kind::Hashed("descrypt"),
            20 if is_base64 && text.starts_with('_') => Kind::Hashed("bsdicrypt"),
            // `*`, `!`, `!!`, `!$6$...`, `*LK*`, `x`: crypt(3) never yields any of these.
            _ => Kind::Locked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (field, kind) in [
            ("", Kind::Empty),
            ("*", Kind::Locked),
            ("!", Kind::Locked),
            ("!!", Kind::Locked),
            ("!$6$a$b", Kind::Locked),
            ("*LK*", Kind::Locked),
            ("x", Kind::Locked),
            ("$6$salt$hash", Kind::Hashed("sha512crypt")),
            ("$y$j9T$abc$def", Kind::Hashed("yescrypt")),
            ("$1$a$b", Kind::Hashed("md5crypt")),
            ("abJnggxhB/yWI", Kind::Hashed("descrypt")),
        ] {
            assert_eq!(Hash(field.into()).kind(), kind, "{field}");
        }
    }

    #[test]
    fn a_password_is_set_and_nothing_else() {
        let text = "a:*:1::::::\r\nroot:!:19000:0:99999:7:::\r\nz:x:1";
        assert_eq!(
            set_password(text, "root", "$6$s$h", 20_000),
            "a:*:1::::::\r\nroot:$6$s$h:19000:0:99999:7:::\r\nz:x:1"
        );
        assert_eq!(
            set_password(text, "new", "H", 20_000),
            "a:*:1::::::\r\nroot:!:19000:0:99999:7:::\r\nz:x:1\r\nnew:H:20000:0:99999:7:::"
        );
        let expired = "root:$1$a$b:10:0:5:7:3:100:\n";
        let mended = set_password(expired, "root", "$6$s$h", 20_000);
        assert_eq!(mended, "root:$6$s$h:20000:0:5:7:::\n");
        assert!(!parse(&mended)[0].is_expired(20_000));
        let forced = set_password("root:x:0:0:99999:7:::\n", "root", "H", 9);
        assert_eq!(forced, "root:H:9:0:99999:7:::\n");
    }

    #[test]
    fn lines_and_expiry() {
        let entries = parse(
            "root:*:19000:0:99999:7:::\nold:$1$a$b:10:0:5:7:3::\ngone:$1$a$b:::::: 1:\nexp:$1$:1:::::100:\nx\n",
        );
        assert_eq!(entries.len(), 4);
        assert!(!entries[0].is_expired(20_000));
        assert!(entries[1].is_expired(19));
        assert!(!entries[1].is_expired(18));
        assert!(entries[3].is_expired(100) && !entries[3].is_expired(99));
        assert!(!format!("{entries:?}").contains("$1$"));
    }
}
