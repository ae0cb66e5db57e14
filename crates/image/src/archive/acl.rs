//! POSIX ACLs as text (`SCHILY.acl.access`, `SCHILY.acl.default`; star, GNU tar --acls, bsdtar) to the binary form in
//! which Linux keeps them in an extended attribute.
//!
//! Text: `user::rwx,user:lisa:r-x:502,group::r--,mask::r-x,other::r--` (acl(5), star(5)). Binary: version 2, then
//! tag, permissions and id of each entry, little-endian, sorted (include/uapi/linux/posix_acl_xattr.h).

const VERSION: u32 = 2;
/// The id of entries that have none (`ACL_UNDEFINED_ID`).
const NO_ID: u32 = u32::MAX;

/// The binary form. `None` if the text is not understood, or names users by name only: whose name that is depends on
/// the tree.
pub(super) fn encode(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for line in text.split([',', '\n']) {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if !entry.is_empty() {
            entries.push(parse(entry)?);
        }
    }
    if entries.is_empty() {
        return None;
    }
    entries.sort_unstable();
    let mut out = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&permissions.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

fn parse(entry: &str) -> Option<(u16, u32, u16)> {
    let mut fields = entry.split(':');
    let kind = fields.next()?;
    // `other:r--` and `mask:r--` are allowed with one colon.
    let rest: Vec<&str> = fields.collect();
    let (who, permissions, id) = match (kind, &rest[..]) {
        ("other" | "o" | "mask" | "m", [permissions]) => ("", *permissions, None),
        (_, [who, permissions]) => (*who, *permissions, None),
        (_, [who, permissions, id]) => (*who, *permissions, Some(*id)),
        _ => return None,
    };
    let (tag, named_tag) = match kind {
        "user" | "u" => (0x01, Some(0x02)),
        "group" | "g" => (0x04, Some(0x08)),
        "mask" | "m" => (0x10, None),
        "other" | "o" => (0x20, None),
        _ => return None,
    };
    let permissions = permissions
        .chars()
        .try_fold(0, |bits, letter| match letter {
            'r' => Some(bits | 4),
            'w' => Some(bits | 2),
            'x' => Some(bits | 1),
            '-' => Some(bits),
            _ => None,
        })?;
    if who.is_empty() {
        return Some((tag, NO_ID, permissions));
    }
    // The fourth field is the number of the name in the second, which may be a number itself.
    let id = id.unwrap_or(who).parse().ok()?;
    Some((named_tag?, id, permissions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_several_programs() {
        let expected: Vec<u8> = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 5, 0, 0xf6, 1, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 5, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        for text in [
            "user::rw-,user:lisa:r-x:502,group::r--,mask::r-x,other::---",
            "user::rw-\nuser:502:r-x\t#effective:r-x\ngroup::r--\nmask::r-x\nother::---\n",
            "o:---,m:rx,g::r,u:502:rx,u::rw",
        ] {
            assert_eq!(encode(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "user",
            "user:lisa:r--",
            "user::rwz",
            "who::r--",
            "\u{e9}",
            "mask:5:r",
        ] {
            assert!(encode(text.as_bytes()).is_none(), "{text}");
        }
    }
}
