//! `inspect`: the order in which a tree is looked at; `needs`: from facts to what the init wants.

use crate::candidate::{self, Search};
use crate::init;
use crate::reading::{evidence, optional, text};
use crate::{Result, distro, login};
use repot_model::{Arch, Evidence, Facts, InitFacts, Libc, LoginFacts, LoginStack, Needs};
use repot_rootfs::{ErrorKind, FileKind, Program, RootRead};

/// Files whose content decides something. If one of them is there but may not be read, the facts say so.
const DECISIVE: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/inittab",
    "/etc/os-release",
    "/etc/pam.d/login",
    "/etc/securetty",
    "/etc/machine-id",
];

/// Programs that tell the architecture of a tree without an init.
pub(crate) const ANY_PROGRAM: &[&str] = &[
    "/bin/sh",
    "/bin/bash",
    "/bin/busybox",
    "/usr/bin/env",
    "/bin/true",
];

/// Finds out what a tree is, without executing or changing anything.
///
/// # Errors
/// Only if the machine fails to read it; what is missing or broken in the tree is among the facts.
pub fn inspect(root: &RootRead) -> Result<Facts> {
    inspect_with(root, candidate::search(root)?)
}

/// As [`inspect`], but with the program at `path` as the init, whatever else there is. If it cannot run, the facts hold no
/// init, and the reason among `rejected_inits`.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_init(root: &RootRead, path: &str) -> Result<Facts> {
    let is_link = root
        .symlink_metadata(path)
        .is_ok_and(|seen| seen.kind == FileKind::Symlink);
    let mut search = Search::default();
    match candidate::check(root, path, is_link)? {
        Ok(candidate) => search.found = Some(candidate),
        Err(reason) => search.rejected.push(evidence(path, None, &reason)),
    }
    let named = search.found.is_some();
    let mut facts = inspect_with(root, search)?;
    if !named {
        facts.init = None;
    }
    Ok(facts)
}

/// As [`inspect`], for a command that is no init: neither an init nor a login stack is looked for, which is most of the work.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_for_command(root: &RootRead) -> Result<Facts> {
    let (arch, libc) = architecture(root, None)?;
    Ok(Facts {
        distribution: distro::detect(root, None)?,
        arch,
        libc,
        init: None,
        rejected_inits: Vec::new(),
        login: LoginFacts {
            login: None,
            stack: LoginStack::None,
            gettys: Vec::new(),
            pam: None,
            securetty: None,
            evidence: Vec::new(),
        },
        root: login::root_account(root)?,
        machine_id: machine_id(root)?,
        has_usr: root.is_dir("/usr"),
        unread: Vec::new(),
    })
}

fn inspect_with(root: &RootRead, search: Search) -> Result<Facts> {
    let Search {
        found,
        mut rejected,
    } = search;
    let mut init = None;
    if let Some(candidate) = &found {
        init = init::detect(root, candidate)?;
    }
    // Guix System has no file that could be executed as it is: the argv is made up.
    if init.is_none() {
        init = init::guix_system(root, &mut rejected)?;
    }
    let (arch, libc) = architecture(root, init.as_ref())?;
    let system = init.as_ref().and_then(init::system_dir);
    Ok(Facts {
        distribution: distro::detect(root, system.as_deref())?,
        arch,
        libc,
        login: login::detect(root, system.as_deref())?,
        root: login::root_account(root)?,
        machine_id: machine_id(root)?,
        has_usr: root.is_dir("/usr"),
        unread: unread(root)?,
        init,
        rejected_inits: rejected,
    })
}

/// What the init of these facts wants. `None` for an application image, which has none.
pub fn needs(facts: &Facts) -> Option<Needs> {
    let init = facts.init.as_ref()?;
    Some(init::system(init).needs(init, facts))
}

fn architecture(root: &RootRead, init: Option<&InitFacts>) -> Result<(Option<Arch>, Option<Libc>)> {
    if let Some(elf) = init.and_then(|init| init.elf.as_ref()) {
        return Ok((Some(elf.arch), Some(elf.libc)));
    }
    for path in ANY_PROGRAM {
        if let Some(Program::Elf {
            header,
            interpreter,
        }) = optional(root.program(path))?
            && let Ok(elf) = candidate::elf_facts(root, header, interpreter)
        {
            return Ok((Some(elf.arch), Some(elf.libc)));
        }
    }
    Ok((None, None))
}

/// `/etc/machine-id` if it is valid (machine-id(5)).
fn machine_id(root: &RootRead) -> Result<Option<String>> {
    Ok(text(root, "/etc/machine-id")?
        .map(|content| content.trim().to_ascii_lowercase())
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

fn unread(root: &RootRead) -> Result<Vec<Evidence>> {
    let mut unread = Vec::new();
    for path in DECISIVE {
        if let Err(error) = root.read_text(path) {
            match error.kind() {
                ErrorKind::Denied | ErrorKind::Unsuitable => {
                    unread.push(evidence(path, None, &error.to_string()));
                }
                ErrorKind::Absent => {}
                ErrorKind::Io => return Err(error.into()),
            }
        }
    }
    Ok(unread)
}

#[cfg(test)]
mod tests {
    use crate::fake::Tree;
    use repot_model::PasswordState;

    #[test]
    fn an_empty_tree_has_no_init() {
        let facts = Tree::new().facts();
        assert!(facts.init.is_none() && facts.arch.is_none() && facts.unread.is_empty());
        assert!(crate::needs(&facts).is_none());
        assert_eq!(facts.distribution.id, "linux");
    }

    #[test]
    fn files_of_the_wrong_kind_do_not_stop_it() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .fifo("/etc/passwd")
            .dir("/etc/shadow")
            .link("/etc/os-release", "os-release")
            .fifo("/etc/inittab")
            .huge("/etc/securetty")
            .link("/etc/machine-id", "../../../../../etc/machine-id");
        let facts = tree.facts();
        assert_eq!(facts.init.unwrap().id.0, "sysvinit");
        assert_eq!(facts.root.password, PasswordState::Missing);
        let unread: Vec<_> = facts.unread.iter().map(|seen| seen.path.as_str()).collect();
        assert_eq!(
            unread,
            [
                "/etc/passwd",
                "/etc/shadow",
                "/etc/inittab",
                "/etc/securetty"
            ]
        );
    }

    #[test]
    fn a_command_needs_less() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/sh", "")
            .file("/etc/passwd", "root:x:0:0::/root:/bin/ksh\n")
            .file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        let (all, some) = (
            tree.facts(),
            crate::inspect_for_command(&tree.root()).unwrap(),
        );
        assert!(all.init.is_some() && some.init.is_none());
        assert_eq!(
            (all.arch, all.root.shell, all.machine_id, all.distribution),
            (
                some.arch,
                some.root.shell,
                some.machine_id,
                some.distribution
            )
        );
    }

    #[test]
    fn machine_ids_are_checked() {
        let id = |content: &str| {
            Tree::new()
                .file("/etc/machine-id", content)
                .facts()
                .machine_id
        };
        assert_eq!(id("uninitialized\n"), None);
        assert_eq!(id(""), None);
        assert_eq!(
            id("0123456789ABCDEF0123456789abcdef\n").as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
    }

    #[test]
    fn facts_can_be_written_and_read_back() {
        let tree = Tree::new().elf("/sbin/init", "BusyBox v1.36.1\0/etc/inittab");
        let facts = tree.facts();
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            serde_json::from_str::<repot_model::Facts>(&text).unwrap(),
            facts
        );
    }
}
