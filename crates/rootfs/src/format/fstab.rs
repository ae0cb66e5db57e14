//! fstab(5): what is mounted at boot, and lines made comments.

use super::lines::Lines;
use super::numbered;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is mounted, with `\040` and the like decoded.
    pub source: String,
    /// Where.
    pub place: String,
    /// File system type.
    pub kind: String,
    /// Options, as they stand there.
    pub options: String,
    /// The order of fsck(8): 0 means not at all.
    pub pass: u32,
    /// Line number from 1.
    pub line: u32,
}

impl Entry {
    /// Whether the options hold one.
    pub fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// Whether it needs a block device of its own: by a path below `/dev` or by a tag.
    ///
    /// # Source
    /// fstab(5), first field; systemd `src/shared/fstab-util.c`, `fstab_node_to_udev_node`.
    pub fn needs_device(&self) -> bool {
        const TAGS: &[&str] = &["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
        let is_pseudo = [
            "/dev/shm",
            "/dev/pts",
            "/dev/mqueue",
            "/dev/hugepages",
            "/dev/null",
        ]
        .contains(&self.source.as_str());
        let is_bind = self.has_option("bind") || self.has_option("rbind");
        !is_bind
            && !is_pseudo
            && (self.source.starts_with("/dev/")
                || TAGS.iter().any(|tag| self.source.starts_with(tag)))
    }
}

/// Parses an fstab. Lines with fewer than two fields are left out; what is missing after them is as fstab(5) says.
pub fn parse(text: &str) -> Vec<Entry> {
    numbered(text)
        .filter_map(|(line, content)| {
            let content = content.trim();
            if content.starts_with('#') {
                return None;
            }
            let mut fields = content.split_ascii_whitespace();
            Some(Entry {
                source: decoded(fields.next()?),
                place: decoded(fields.next()?),
                kind: fields.next().unwrap_or("auto").to_owned(),
                options: fields.next().unwrap_or("defaults").to_owned(),
                pass: fields
                    .nth(1)
                    .and_then(|pass| pass.parse().ok())
                    .unwrap_or(0),
                line,
            })
        })
        .collect()
}

/// The text with these lines made comments. Nothing else changes.
pub fn disable(text: &str, lines: &[u32]) -> String {
    let mut edited = Lines::parse(text);
    lines.iter().for_each(|line| edited.comment(*line));
    edited.to_string()
}

/// Octal escapes, as getmntent(3) has them.
fn decoded(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                out.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_all_kinds() {
        let text = "# c\nUUID=1 / ext4 errors=remount-ro 0 1\n/dev/sda2\tnone swap sw\nproc /proc proc defaults 0 0\n\
                    /srv/a\\040b /mnt none bind 0 0\nbad\n";
        let found = parse(text);
        assert_eq!(found.len(), 4);
        assert_eq!((found[0].pass, found[0].line), (1, 2));
        assert_eq!(found[3].source, "/srv/a b");
        let devices: Vec<bool> = found.iter().map(Entry::needs_device).collect();
        assert_eq!(devices, [true, true, false, false]);
        assert_eq!(decoded("a\\04"), "a\\04");
        assert_eq!(decoded("\\\\040é"), "\\ é");
    }

    proptest! {
        #[test]
        fn disabling_touches_nothing_else(text in "((#|UUID=[0-9]|/dev/[a-z]{3}) /[a-z]{0,3} ext4( [a-z,]{1,9} 0 [0-2])?\r?\n|\n){0,8}") {
            let all: Vec<u32> = parse(&text).iter().map(|entry| entry.line).collect();
            let edited = disable(&text, &all);
            prop_assert!(parse(&edited).is_empty());
            prop_assert_eq!(edited.len(), text.len() + all.len());
            prop_assert_eq!(disable(&text, &[]), text);
        }
    }
}
