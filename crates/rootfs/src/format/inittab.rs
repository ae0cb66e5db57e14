//! inittab(5) in the forms of sysvinit (`id:runlevels:action:process`) and of busybox and procd
//! (`tty:ignored:action:process`). The two have one syntax; what the first two fields mean is the caller's to say.

use super::lines::Lines;
use super::numbered;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// sysvinit: a label; busybox: the terminal, empty for the console.
    pub id: String,
    /// sysvinit: the runlevels; busybox ignores it.
    pub levels: String,
    /// `respawn`, `askfirst`, `sysinit`, ...
    pub action: String,
    /// The command. busybox' leading `-` (login shell) and sysvinit's `+` (no utmp) are still there.
    pub process: String,
    /// Line number from 1.
    pub line: u32,
}

impl Entry {
    /// The words of the command, without the leading `-` or `+` of the first.
    pub fn words(&self) -> Vec<&str> {
        self.process
            .trim_start()
            .trim_start_matches(['-', '+'])
            .split_ascii_whitespace()
            .collect()
    }
}

/// Parses an inittab. Lines with fewer than four fields are left out, as both inits do.
///
/// # Source
/// sysvinit `init.c` `read_inittab`; busybox `init/init.c` `parse_inittab`.
pub fn parse(text: &str) -> Vec<Entry> {
    numbered(text)
        .filter_map(|(line, content)| {
            let content = content.trim();
            if content.starts_with('#') {
                return None;
            }
            let mut fields = content.splitn(4, ':');
            let mut next = || fields.next().map(|field| field.trim().to_owned());
            Some(Entry {
                id: next()?,
                levels: next()?,
                action: next()?,
                process: next()?,
                line,
            })
        })
        .collect()
}

/// The text with these lines made comments. Nothing else changes.
pub fn disable(text: &str, lines: &[u32]) -> String {
    let mut edited = Lines::parse(text);
    for line in lines {
        edited.comment(*line);
    }
    edited.to_string()
}

/// The text with an entry put behind a line, or at the end.
pub fn add(text: &str, after: Option<u32>, entry: &str) -> String {
    let mut edited = Lines::parse(text);
    let after = after.unwrap_or_else(|| edited.count());
    edited.insert_after(after, entry);
    edited.to_string()
}

/// An ID that no entry has, of at most four characters, that begins with `prefix`: sysvinit refuses a second line of one ID.
///
/// # Source
/// inittab(5): "id is a unique sequence of 1-4 characters".
pub fn free_id(entries: &[Entry], prefix: &str) -> Option<String> {
    let is_free = |id: &String| !entries.iter().any(|entry| entry.id == *id);
    std::iter::once(prefix.to_owned())
        .chain((0..100).map(|number| format!("{prefix}{number}")))
        .filter(|id| id.len() <= 4)
        .find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_added_entry_is_found_and_the_others_stay(
            text in "((#|[a-z0-9]{0,2}:[0-6]{0,3}:respawn:/sbin/[a-z]{1,4}|)\r?\n){0,8}(x:2:once:y)?",
            after in proptest::option::of(0u32..10),
        ) {
            let before = parse(&text);
            let id = free_id(&before, "co").unwrap();
            let edited = add(&text, after, &format!("{id}:2345:respawn:/sbin/getty console"));
            let mut found = parse(&edited);
            let at = found.iter().position(|entry| entry.id == id).unwrap();
            let new = found.remove(at);
            prop_assert_eq!(new.words(), vec!["/sbin/getty", "console"]);
            let plain = |entries: &[Entry]| entries.iter().map(|entry| format!("{}:{}", entry.id, entry.process)).collect::<Vec<_>>();
            prop_assert_eq!(plain(&found), plain(&before));
            let undone = parse(&disable(&edited, &[new.line]));
            prop_assert_eq!(plain(&undone), plain(&before));
        }
    }

    #[test]
    fn ids_stay_short_and_unique() {
        let entries = parse("co:2:once:x\nco0:2:once:x\n");
        assert_eq!(free_id(&entries, "co").as_deref(), Some("co1"));
        assert_eq!(free_id(&entries, "longer"), None);
        assert_eq!(disable("a:b:c:d\r\n#x", &[1, 2]), "#a:b:c:d\r\n##x");
    }

    #[test]
    fn both_forms() {
        let text = "# x:y:z:w\n1:2345:respawn:/sbin/getty 38400 tty1\n\
                    ::sysinit:/etc/init.d/rcS\ntty2::askfirst:-/bin/sh\nbad:line\nca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[0].words(), ["/sbin/getty", "38400", "tty1"]);
        assert_eq!(entries[0].line, 2);
        assert_eq!(entries[1].id, "");
        assert_eq!(entries[2].words(), ["/bin/sh"]);
        assert_eq!(entries[2].action, "askfirst");
    }

    #[test]
    fn a_command_may_hold_colons() {
        let entries = parse("x:2:once:/bin/a b:c");
        assert_eq!(entries[0].process, "/bin/a b:c");
    }
}
