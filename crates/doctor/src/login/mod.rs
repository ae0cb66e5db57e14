//! Who lets a user in: the login program and its kind, gettys, PAM, securetty, and root's account.

mod account;
mod pam;

use crate::Result;
use crate::getty::GETTYS;
use crate::reading::{PROGRAM_DIRS, base_name, evidence, optional, program_in, text};
use repot_model::{LoginFacts, LoginStack};
use repot_rootfs::format::securetty;
use repot_rootfs::{RootRead, contains};

pub(crate) use account::root_account;

/// A login program has some 100 KB; a multi-call binary is recognised by its name, but read as well.
const CONTENT_BYTES: u64 = 8 << 20;

/// Looks at the login stack; `system` is the store directory of a NixOS or Guix System, whose programs and
/// PAM files are below it before the first boot.
pub(crate) fn detect(root: &RootRead, system: Option<&str>) -> Result<LoginFacts> {
    let dirs = program_dirs(system);
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let login = program_in(root, &["/bin", "/usr/bin"], "login")
        .or_else(|| program_in(root, &dirs, "login"));
    let mut facts = LoginFacts {
        stack: LoginStack::None,
        gettys: GETTYS
            .iter()
            .filter_map(|name| program_in(root, &dirs, name))
            .collect(),
        pam: None,
        securetty: text(root, "/etc/securetty")?.map(|content| securetty::parse(&content)),
        evidence: Vec::new(),
        login,
    };
    if let Some(path) = facts.login.clone() {
        let resolved = optional(root.resolve(&path))?.unwrap_or_else(|| path.clone());
        let content = optional(root.read_head(&path, CONTENT_BYTES))?.unwrap_or_default();
        let (stack, why) = stack(&resolved, &content);
        facts.stack = stack;
        facts.evidence.push(evidence(&resolved, None, why));
        if contains(&content, "libpam.so") {
            facts.pam = pam::detect(root, system)?;
        }
    }
    Ok(facts)
}

/// The usual directories and those of a store system's profile.
fn program_dirs(system: Option<&str>) -> Vec<String> {
    let mut dirs: Vec<String> = PROGRAM_DIRS.iter().map(|dir| (*dir).to_owned()).collect();
    if let Some(system) = system {
        for dir in ["profile/bin", "profile/sbin", "sw/bin"] {
            dirs.push(format!("{system}/{dir}"));
        }
    }
    dirs
}

/// Tells login programs apart.
///
/// # Source
/// Texts of the programs: util-linux prints its package name with `--version`; shadow's login refuses with
/// "Cannot possibly work without effective root" (`src/login.c`).
fn stack(resolved: &str, content: &[u8]) -> (LoginStack, &'static str) {
    let name = base_name(resolved);
    if name.starts_with("busybox") || contains(content, "BusyBox v") {
        (LoginStack::Busybox, "a busybox")
    } else if name.starts_with("toybox") || contains(content, "toybox ") {
        (LoginStack::Toybox, "a toybox")
    } else if contains(content, "Cannot possibly work without effective root") {
        (
            LoginStack::Shadow,
            "Cannot possibly work without effective root",
        )
    } else if contains(content, "util-linux") {
        (LoginStack::UtilLinux, "util-linux")
    } else {
        (
            LoginStack::Unknown,
            "a login program that repot does not know",
        )
    }
}
