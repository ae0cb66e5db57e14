//! The state of root's account, from passwd(5), shadow(5) and tcb(5).

use crate::Result;
use crate::reading::{evidence, optional};
use repot_model::{Account, PasswordState};
use repot_rootfs::format::{passwd, shadow};
use repot_rootfs::{ErrorKind, RootRead};

/// Root's account: name `root`, else the first with user ID 0.
pub(crate) fn root_account(root: &RootRead) -> Result<Account> {
    let mut account = Account {
        password: PasswordState::Missing,
        shell: None,
        home: None,
        evidence: Vec::new(),
    };
    let Some(users) = crate::accounts::users(root)? else {
        return Ok(account);
    };
    let by_name = users.iter().find(|user| user.name == "root");
    let Some(user) = by_name.or_else(|| users.iter().find(|user| user.uid == 0)) else {
        return Ok(account);
    };
    account.shell = Some(user.shell.clone()).filter(|shell| !shell.is_empty());
    account.home = Some(user.home.clone());
    let seen = format!("account {} with shell {}", user.name, user.shell);
    account
        .evidence
        .push(evidence("/etc/passwd", Some(user.line), &seen));
    account.password = password(root, user, &mut account)?;
    Ok(account)
}

/// What the second field means; `x` sends the reader on to the shadow files. The hash itself goes nowhere.
fn password(root: &RootRead, user: &passwd::User, account: &mut Account) -> Result<PasswordState> {
    if user.password.0 != "x" && !user.password.0.starts_with("##") {
        let state = state(&user.password);
        note(account, "/etc/passwd", user.line, &state);
        return Ok(state);
    }
    // ALT, Owl and Openwall keep one file per account (tcb(5)).
    for path in [
        "/etc/shadow".to_owned(),
        format!("/etc/tcb/{}/shadow", user.name),
    ] {
        let content = match root.read_text(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::Denied => {
                return Ok(PasswordState::Unreadable);
            }
            Err(error) => {
                optional::<()>(Err(error))?;
                continue;
            }
        };
        let entries = shadow::parse(&content);
        let Some(entry) = entries.iter().find(|entry| entry.name == user.name) else {
            continue;
        };
        let mut state = state(&entry.hash);
        if matches!(state, PasswordState::Set { .. }) && entry.is_expired(today()) {
            state = PasswordState::Expired;
        }
        note(account, &path, entry.line, &state);
        return Ok(state);
    }
    // `x` without an entry: no password can match (pam_unix, shadow's login).
    Ok(PasswordState::Locked)
}

fn note(account: &mut Account, path: &str, line: u32, state: &PasswordState) {
    let seen = match state {
        PasswordState::Set { kind } => format!("a {kind} hash"),
        PasswordState::Empty => "an empty password field".to_owned(),
        PasswordState::Locked => "a field that no password matches".to_owned(),
        PasswordState::Expired => "a hash of an expired account".to_owned(),
        PasswordState::Unreadable | PasswordState::Missing => return,
    };
    account.evidence.push(evidence(path, Some(line), &seen));
}

fn state(hash: &shadow::Hash) -> PasswordState {
    match hash.kind() {
        shadow::Kind::Empty => PasswordState::Empty,
        shadow::Kind::Locked => PasswordState::Locked,
        shadow::Kind::Hashed(kind) => PasswordState::Set {
            kind: kind.to_owned(),
        },
    }
}

/// Days since 1970-01-01, as shadow(5) counts.
pub(crate) fn today() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400)
}
