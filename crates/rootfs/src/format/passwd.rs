//! passwd(5) and group(5).

use super::{Lines, numbered};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Second field: `x` if the hash is in shadow(5).
    pub password: super::shadow::Hash,
    /// User ID.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell; an empty field means `/bin/sh`.
    pub shell: String,
    /// Line number from 1.
    pub line: u32,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Group ID.
    pub gid: u32,
    /// Names of the accounts in it, beyond those with it as primary group.
    pub members: Vec<String>,
    /// Line number from 1.
    pub line: u32,
}

/// Parses passwd(5). NIS lines (`+...`) and lines without valid IDs are left out.
pub fn parse_users(text: &str) -> Vec<User> {
    numbered(text)
        .filter_map(|(line, content)| {
            let fields: Vec<&str> = content.trim_end().split(':').collect();
            let &[name, password, uid, gid, _, home, shell] = fields.as_slice() else {
                return None;
            };
            valid_name(name)?;
            Some(User {
                name: name.to_owned(),
                password: super::shadow::Hash(password.to_owned()),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: home.to_owned(),
                shell: shell.to_owned(),
                line,
            })
        })
        .collect()
}

/// The text with another second field in an account's line. Without such a line nothing changes.
pub fn set_password(text: &str, name: &str, field: &str) -> String {
    set_field(text, name, 1, field)
}

/// The same for its shell.
pub fn set_shell(text: &str, name: &str, shell: &str) -> String {
    set_field(text, name, 6, shell)
}

fn set_field(text: &str, name: &str, index: usize, value: &str) -> String {
    let mut lines = Lines::parse(text);
    let user = parse_users(text).into_iter().find(|user| user.name == name);
    if let Some(line) = user.map(|user| user.line) {
        let content = lines.get(line).unwrap_or_default().to_owned();
        let mut fields: Vec<&str> = content.split(':').collect();
        if let Some(field) = fields.get_mut(index) {
            *field = value;
        }
        lines.replace(line, &fields.join(":"));
    }
    lines.to_string()
}

/// Parses group(5), leaving out the same.
pub fn parse_groups(text: &str) -> Vec<Group> {
    numbered(text)
        .filter_map(|(line, content)| {
            let fields: Vec<&str> = content.trim_end().split(':').collect();
            let &[name, _, gid, members] = fields.as_slice() else {
                return None;
            };
            valid_name(name)?;
            Some(Group {
                name: name.to_owned(),
                gid: gid.parse().ok()?,
                members: members
                    .split(',')
                    .map(str::trim)
                    .filter(|member| !member.is_empty())
                    .map(str::to_owned)
                    .collect(),
                line,
            })
        })
        .collect()
}

fn valid_name(name: &str) -> Option<()> {
    (!name.is_empty() && !name.starts_with(['+', '-', '#'])).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let text = "root:x:0:0:root:/root:/bin/bash\n#c:x:0:0::/:/x\n+::::::\nbad:x:-1:0::/:/x\nshort:x:1\na::1000:1000:A,,,:/home/a:\n";
        let users = parse_users(text);
        assert_eq!(users.len(), 2);
        assert_eq!((users[0].uid, users[0].shell.as_str()), (0, "/bin/bash"));
        assert_eq!((users[1].name.as_str(), users[1].line), ("a", 6));
        assert!(!format!("{:?}", users[0]).contains("\"x\""));
    }

    #[test]
    fn one_field_is_set() {
        let text = "# c\nroot:x:0:0:root:/root:/bin/zsh\nb:x:1:1::/:/x";
        assert_eq!(
            set_shell(text, "root", "/bin/sh"),
            "# c\nroot:x:0:0:root:/root:/bin/sh\nb:x:1:1::/:/x"
        );
        assert!(set_password(text, "b", "H").ends_with("\nb:H:1:1::/:/x"));
        assert_eq!(set_password(text, "nobody", "H"), text);
    }

    #[test]
    fn groups() {
        let groups = parse_groups("adm:x:4:a, b,\nnone:x:5:\nbad:x:y:\n");
        assert_eq!(groups[0].members, ["a", "b"]);
        assert!(groups[1].members.is_empty());
        assert_eq!(groups.len(), 2);
    }
}
