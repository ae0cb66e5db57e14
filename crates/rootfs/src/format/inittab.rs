//! inittab(5) in the forms of sysvinit (`id:runlevels:action:process`) and of busybox and procd
//! (`tty:ignored:action:process`). The two have one syntax; what the first two fields mean is the caller's to say.

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

#[cfg(test)]
mod tests {
    use super::*;

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
