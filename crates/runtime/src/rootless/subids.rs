//! Subordinate IDs: what `/etc/subuid` and `/etc/subgid` lend to a user (subuid(5)), as arguments for newuidmap(1). Pure.

/// IDs that a distribution needs: up to `nobody`, 65534, and one to spare, as every container system gives them.
pub(super) const NEEDED: u64 = 65_535;

/// A user as these files name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// Login name; the number where passwd(5) has no name for it.
    pub(super) name: String,
    /// Numeric ID, which the files may hold instead of the name.
    pub(super) uid: u32,
}

impl User {
    /// The user with this ID, with the name that a passwd(5) file has for it.
    pub(super) fn find(uid: u32, passwd: &str) -> Self {
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self {
            name: name.unwrap_or_else(|| uid.to_string()),
            uid,
        }
    }
}

/// First ID and number of IDs of one range.
pub(super) type Range = (u64, u64);

/// The ranges of every user in a file.
fn ranges(file: &str) -> impl Iterator<Item = (&str, Range)> {
    file.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (range.1 > 0).then_some((owner, range))
    })
}

/// The ranges that a file gives a user, in its order.
pub(super) fn of(user: &User, file: &str) -> Vec<Range> {
    let number = user.uid.to_string();
    ranges(file)
        .filter(|(owner, _)| *owner == user.name || *owner == number)
        .map(|(_, range)| range)
        .collect()
}

/// A range of 65536 IDs that neither file gives to anybody, to be proposed: from 100000 on, where useradd(8) begins.
pub(super) fn free_range(subuid: &str, subgid: &str) -> Range {
    let end = ranges(subuid)
        .chain(ranges(subgid))
        .map(|(_, (first, count))| first.saturating_add(count))
        .max();
    (end.unwrap_or(0).max(100_000), 65_536)
}

/// The mapping: 0 is the user, so that what the user unpacked belongs to root; 1 and up are the ranges, one after the
/// other. Three numbers for each part, as newuidmap(1) takes them.
pub(super) fn arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside = 1;
    for (first, count) in ranges {
        arguments.extend([inside, *first, *count].map(|number| number.to_string()));
        inside += count;
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "ann:100000:65536\nbob:165536:65536\n# 1:2:3\n1000:300000:10\nann:x:1\nann:7:0\n";

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let ann = User::find(
            1000,
            "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
        );
        assert_eq!(ann.name, "ann");
        assert_eq!(of(&ann, FILE), [(100_000, 65_536), (300_000, 10)]);
        let nobody = User::find(7, "");
        assert_eq!(nobody.name, "7");
        assert!(of(&nobody, FILE).is_empty());
    }

    #[test]
    fn the_user_is_root_and_ranges_follow_each_other() {
        let arguments = arguments(1000, &[(100_000, 65_536), (300_000, 10)]).join(" ");
        assert_eq!(arguments, "0 1000 1 1 100000 65536 65537 300000 10");
    }

    #[test]
    fn a_free_range_is_proposed() {
        assert_eq!(free_range("", ""), (100_000, 65_536));
        assert_eq!(free_range(FILE, "eve:400000:5\n"), (400_005, 65_536));
    }
}
