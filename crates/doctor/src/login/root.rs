//! Root's account in a tree with edits: where its password is kept, and what is there.

use crate::{Result, View};
use repot_model::{Change, Edit};
use repot_rootfs::format::passwd::User;
use repot_rootfs::format::shadow::Kind;
use repot_rootfs::format::{passwd, shadow};

/// Root's account as the files say.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its line in passwd(5).
    pub(crate) user: User,
    /// What the password field means.
    pub(crate) kind: Kind,
    /// Whether the account has expired.
    pub(crate) is_expired: bool,
    /// The file with that field, and the line if it has one.
    pub(crate) place: (String, Option<u32>),
    hash: shadow::Hash,
    is_in_passwd: bool,
}

/// Whether the accounts are made from the system's description at each boot, and are not there before the first.
///
/// # Source
/// guix `gnu/build/accounts.scm`; nixpkgs `nixos/modules/config/update-users-groups.pl`.
pub(crate) fn are_accounts_made(view: &View<'_>) -> bool {
    ["/gnu/store", "/nix/store"]
        .iter()
        .any(|path| view.is_dir(path))
}

/// The edit that sets a hash for a root whose account will be made: both keep the line of shadow(5) that they find.
/// `None`: it is set.
pub(crate) fn password_in_advance(view: &View<'_>, hash: &str) -> Result<Option<Edit>> {
    let path = "/etc/shadow";
    let old = view.text(path)?.unwrap_or_default();
    let entries = shadow::parse(&old);
    if entries
        .iter()
        .any(|entry| entry.name == "root" && entry.hash.0 == hash)
    {
        return Ok(None);
    }
    Ok(Some(Edit {
        path: view.place(path),
        change: Change::Write {
            text: shadow::set_password(&old, "root", hash, super::account::today()),
            mode: Some(0o600),
        },
        why: "root's password was asked for".to_owned(),
    }))
}

impl Root {
    /// Reads it: name `root`, else the first with user ID 0. `None`: there is no such account.
    pub(crate) fn read(view: &View<'_>) -> Result<Option<Self>> {
        let users = passwd::parse_users(&view.text("/etc/passwd")?.unwrap_or_default());
        let by_name = users.iter().find(|user| user.name == "root");
        let Some(user) = by_name.or_else(|| users.iter().find(|user| user.uid == 0)) else {
            return Ok(None);
        };
        let mut root = Self {
            user: user.clone(),
            kind: user.password.kind(),
            is_expired: false,
            place: ("/etc/passwd".to_owned(), Some(user.line)),
            hash: user.password.clone(),
            is_in_passwd: true,
        };
        if user.password.0 != "x" && !user.password.0.starts_with("##") {
            return Ok(Some(root));
        }
        root.kind = Kind::Locked;
        let tcb = format!("/etc/tcb/{}/shadow", user.name);
        for path in ["/etc/shadow", &tcb] {
            let Some(text) = view.text(path)? else {
                continue;
            };
            let entry = shadow::parse(&text)
                .into_iter()
                .find(|entry| entry.name == user.name);
            // The first shadow file is where an entry would be added.
            if root.is_in_passwd || entry.is_some() {
                root.place = (path.to_owned(), entry.as_ref().map(|entry| entry.line));
                root.is_in_passwd = false;
            }
            if let Some(entry) = entry {
                root.kind = entry.hash.kind();
                root.is_expired = entry.is_expired(super::account::today());
                root.hash = entry.hash;
                break;
            }
        }
        Ok(Some(root))
    }

    /// Whether exactly this hash is set.
    pub(crate) fn has(&self, hash: &str) -> bool {
        self.hash.0 == hash && self.kind != Kind::Locked && !self.is_expired
    }

    /// The edit that sets a hash.
    pub(crate) fn set_password(&self, view: &View<'_>, hash: &str) -> Result<Option<Edit>> {
        let why = "root's password was asked for";
        let (path, name) = (&self.place.0, &self.user.name);
        crate::edit::rewrite(view, path, why, |text| match self.is_in_passwd {
            true => passwd::set_password(text, name, hash),
            false => shadow::set_password(text, name, hash, super::account::today()),
        })
    }
}
