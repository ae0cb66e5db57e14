//! A user of this machine without privileges, for what has to work without root.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// Who that is. Kept between runs: test processes of other users of the machine may be using it.
const NAME: &str = "repot-e2e";

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// A user with subordinate IDs (subuid(5)), who is made now unless it exists.
    ///
    /// # Errors
    /// It cannot be made: not root, or no useradd(8).
    pub fn with_subordinate_ids() -> Result<User> {
        static MADE: OnceLock<Result<User, String>> = OnceLock::new();
        let made = MADE.get_or_init(|| make().map_err(|error| format!("{error:#}")));
        match made {
            Ok(user) => Ok(user.clone()),
            Err(why) => bail!("making the user {NAME}: {why}"),
        }
    }

    /// A user of that name, as passwd(5) has it.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<User> {
        let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        passwd
            .lines()
            .find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let number = |at: usize| fields.get(at)?.parse().ok();
                (fields.first() == Some(&name)).then_some(())?;
                Some(User {
                    name: name.to_owned(),
                    uid: number(2)?,
                    gid: number(3)?,
                })
            })
            .with_context(|| format!("there is no user {name}"))
    }
}

fn make() -> Result<User> {
    let mut useradd = Command::new("useradd");
    useradd.args([
        "--system",
        "--add-subids-for-system",
        "--shell=/bin/sh",
        NAME,
    ]);
    let done = process::run(&mut useradd, b"", Duration::from_secs(60))?;
    // 9: it exists (useradd(8)), maybe since another test process made it a moment ago.
    ensure!(matches!(done.code, 0 | 9), "useradd: {done}");
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        let mut owners = text.lines().filter_map(|line| line.split(':').next());
        ensure!(
            owners.any(|owner| owner == NAME),
            "{file} gives {NAME} nothing"
        );
    }
    User::named(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(User::named("no-such-user").is_err());
    }
}
