//! Programs that could be PID 1: where they are looked for, and which of them the kernel could execute.
//!
//! A candidate that cannot run is reported with the reason and the search goes on. What passes is handed to the
//! detectors with its content, by which a copy is told apart as well as a link.

use crate::reading::{evidence, optional};
use crate::{Result, View};
use repot_model::{Arch, CgroupVersion, ElfFacts, Evidence, InitFacts, InitId, Libc};
use repot_rootfs::format::elf::Header;
use repot_rootfs::{Error, FileKind, Program, RootRead};

/// How much of a program is searched for texts. The largest init by far is a static busybox of some 2 MB.
const CONTENT_BYTES: u64 = 16 << 20;

/// Interpreters of interpreters that are followed; the kernel follows four (`BINPRM_MAX_DEPTH` in `fs/exec.c`).
pub(crate) const INTERPRETER_DEPTH: usize = 4;

/// Where an init is looked for, in order: `/sbin/init` decides, as for a kernel; then the places that other
/// layouts use; then inits that are installed but not linked.
///
/// # Source
/// Linux `init/main.c` `kernel_init`; NixOS and Guix System: their boot loader entries.
const PLACES: &[&str] = &[
    "/sbin/init",
    "/usr/sbin/init",
    "/init",
    "/bin/init",
    "/usr/bin/init",
    "/nix/var/nix/profiles/system/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/sbin/openrc-init",
    "/usr/sbin/openrc-init",
    "/usr/bin/openrc-init",
    "/sbin/runit-init",
    "/usr/bin/runit-init",
    "/lib/runit/runit-init",
    "/usr/lib/runit/runit-init",
    "/sbin/finit",
    "/usr/sbin/finit",
    "/sbin/dinit",
    "/usr/sbin/dinit",
    "/usr/bin/dinit",
];

/// A program that the kernel could execute as PID 1.
#[derive(Debug)]
pub struct Candidate {
    /// Where it was looked for.
    pub path: String,
    /// Where that leads.
    pub resolved: String,
    /// The text of the symlink at `path`, if it is one.
    pub link: Option<String>,
    /// For a script, the interpreter and its argument as the `#!` line names them.
    pub script: Option<(String, Option<String>)>,
    /// ELF facts of the program, or of its interpreter.
    pub elf: ElfFacts,
    /// The content, up to 16 MiB.
    pub content: Vec<u8>,
}

impl Candidate {
    /// The content of a script.
    pub fn script_text(&self) -> Option<String> {
        self.script
            .is_some()
            .then(|| String::from_utf8_lossy(&self.content).into_owned())
    }

    /// Whether the content holds a text.
    pub fn contains(&self, text: &str) -> bool {
        repot_rootfs::contains(&self.content, text)
    }

    /// The texts in the content that begin with `prefix`.
    pub fn texts<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        repot_rootfs::texts(&self.content, prefix)
    }

    /// Facts that hold for whatever init this is: the detector adds its own.
    pub fn facts(&self, id: &str, name: &str) -> InitFacts {
        let seen = match (&self.link, &self.script) {
            (Some(link), _) => format!("symlink to {link}"),
            (None, Some((interpreter, _))) => format!("script for {interpreter}"),
            (None, None) => format!("ELF program for {}", self.elf.arch),
        };
        InitFacts {
            id: InitId(id.to_owned()),
            on_top: None,
            name: name.to_owned(),
            version: None,
            path: self.path.clone(),
            resolved: self.resolved.clone(),
            args: Vec::new(),
            env: Vec::new(),
            elf: Some(self.elf.clone()),
            cgroups: Vec::<CgroupVersion>::new(),
            gettys: Vec::new(),
            broken_gettys: Vec::new(),
            control: Vec::new(),
            evidence: vec![evidence(&self.path, None, &seen)],
        }
    }
}

/// What the search found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// The first candidate that can run.
    pub(crate) found: Option<Candidate>,
    /// Those before it that cannot, with the reason.
    pub(crate) rejected: Vec<Evidence>,
}

/// Looks for a program that could be PID 1.
pub(crate) fn search(root: &RootRead) -> Result<Search> {
    let mut search = Search::default();
    // In an s6-overlay image the distribution's own /sbin/init is still there, but is not what boots it.
    let overlay = ["/package/admin/s6-overlay", "/etc/s6-overlay"];
    let first = overlay
        .iter()
        .any(|path| root.exists(path))
        .then_some("/init");
    for path in first.iter().chain(PLACES) {
        let seen = match root.symlink_metadata(path) {
            Ok(seen) => seen,
            Err(error) => {
                optional::<()>(Err(error))?;
                continue;
            }
        };
        match check(root, path, seen.kind == FileKind::Symlink)? {
            Ok(candidate) => {
                search.found = Some(candidate);
                break;
            }
            Err(reason) => {
                let reason = evidence(path, None, &reason);
                // Merged directories show one file under two names.
                let known = |known: &Evidence| {
                    known.seen == reason.seen
                        && known.path.rsplit('/').next() == path.rsplit('/').next()
                };
                if !search.rejected.iter().any(known) {
                    search.rejected.push(reason);
                }
            }
        }
    }
    Ok(search)
}

/// A candidate, or why the kernel could not execute it.
pub(crate) fn check(
    root: &RootRead,
    path: &str,
    is_link: bool,
) -> Result<std::result::Result<Candidate, String>> {
    let link = match is_link {
        true => optional(root.read_link(path))?,
        false => None,
    };
    let arrow = link
        .as_ref()
        .map(|link| format!("symlink to {link}, which "))
        .unwrap_or_default();
    let found = match root.metadata(path) {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(Err(format!("{arrow}does not exist"))),
        Err(Error::Loop { .. }) => return Ok(Err(format!("{arrow}leads in a circle"))),
        Err(error) => {
            let text = error.to_string();
            optional::<()>(Err(error))?;
            return Ok(Err(text));
        }
    };
    if found.kind != FileKind::File {
        return Ok(Err(format!("{arrow}is a {}", found.kind)));
    }
    if found.mode & 0o111 == 0 {
        return Ok(Err(format!("{arrow}is not executable")));
    }
    let (script, elf) = match executable(root, path)? {
        Ok(parts) => parts,
        Err(reason) => return Ok(Err(format!("{arrow}{reason}"))),
    };
    let Some(resolved) = optional(root.resolve(path))? else {
        return Ok(Err(format!("{arrow}has no name inside the tree")));
    };
    let content = optional(root.read_head(path, CONTENT_BYTES))?.unwrap_or_default();
    Ok(Ok(Candidate {
        path: path.to_owned(),
        resolved,
        link,
        script,
        elf,
        content,
    }))
}

/// Why the kernel could not execute a file, if that is so: not executable, its interpreter or loader missing.
pub(crate) fn why_not(root: &RootRead, path: &str) -> Result<Option<String>> {
    Ok(executable(root, path)?.err())
}

/// Whether the kernel could execute a program of a tree with edits: interpreters and loaders are looked for in that.
pub(crate) fn now_runs(view: &View<'_>, path: &str) -> Result<bool> {
    let mut current = path.to_owned();
    for _ in 0..=INTERPRETER_DEPTH {
        let Some(end) = view.resolve(&current) else {
            return Ok(false);
        };
        if !view.is_executable(&end) {
            return Ok(false);
        }
        // What an edit has written is a script; all else is as it was on the disk.
        match optional(view.root().program(&end))? {
            Some(Program::Script { interpreter, .. }) => current = interpreter,
            Some(Program::Elf {
                header,
                interpreter,
            }) => {
                let loader = match interpreter {
                    Some(wanted) => match view.resolve(&wanted) {
                        Some(found) => Some(found),
                        None => return Ok(false),
                    },
                    None => None,
                };
                return Ok(elf_facts(view.root(), header, loader).is_ok());
            }
            Some(Program::Empty | Program::Broken(_) | Program::Other) => return Ok(false),
            None => return Ok(view.is_file(&end)),
        }
    }
    Ok(false)
}

type Script = Option<(String, Option<String>)>;

/// Follows a script to its interpreter, and checks that the ELF program at the end has its loader.
fn executable(
    root: &RootRead,
    path: &str,
) -> Result<std::result::Result<(Script, ElfFacts), String>> {
    let mut script: Script = None;
    let mut current = path.to_owned();
    for _ in 0..=INTERPRETER_DEPTH {
        let of = if script.is_some() {
            format!("its interpreter {current} ")
        } else {
            String::new()
        };
        let found = match root.metadata(&current) {
            Ok(found) => found,
            Err(error) => {
                optional::<()>(Err(error))?;
                return Ok(Err(format!("{of}does not exist")));
            }
        };
        if !found.is_executable() {
            return Ok(Err(format!("{of}is not executable")));
        }
        let Some(program) = optional(root.program(&current))? else {
            return Ok(Err(format!("{of}cannot be read")));
        };
        match program {
            Program::Elf {
                header,
                interpreter,
            } => {
                return Ok(elf_facts(root, header, interpreter)
                    .map(|facts| (script, facts))
                    .map_err(|reason| format!("{of}{reason}")));
            }
            Program::Script {
                interpreter,
                argument,
            } => {
                script.get_or_insert((interpreter.clone(), argument));
                current = interpreter;
            }
            Program::Empty => return Ok(Err(format!("{of}is empty"))),
            Program::Broken(error) => return Ok(Err(format!("{of}is {error}"))),
            Program::Other => {
                return Ok(Err(format!("{of}is neither an ELF program nor a script")));
            }
        }
    }
    Ok(Err("has too many interpreters".to_owned()))
}

/// The facts of an ELF program, or why the kernel could not execute it.
pub(crate) fn elf_facts(
    root: &RootRead,
    header: Header,
    interpreter: Option<String>,
) -> std::result::Result<ElfFacts, String> {
    if !header.is_program {
        return Err("is an ELF file, but no program".to_owned());
    }
    if let Some(loader) = &interpreter {
        match root.program(loader) {
            Ok(Program::Elf { header: own, .. })
                if (own.machine, own.is_64) == (header.machine, header.is_64) => {}
            Ok(Program::Elf { .. }) => {
                return Err(format!(
                    "needs the loader {loader}, which is for another architecture"
                ));
            }
            Ok(Program::Script { .. } | Program::Empty | Program::Broken(_) | Program::Other) => {
                return Err(format!("needs the loader {loader}, which is no ELF file"));
            }
            Err(_) => return Err(format!("needs the loader {loader}, which does not exist")),
        }
    }
    Ok(ElfFacts {
        arch: Arch::from_elf(header.machine, header.is_64, header.is_little),
        libc: libc(interpreter.as_deref()),
        interpreter,
    })
}

/// The C library by the name of the dynamic loader.
fn libc(interpreter: Option<&str>) -> Libc {
    let Some(path) = interpreter else {
        return Libc::Static;
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("ld-musl-") {
        Libc::Musl
    } else if name.contains("uClibc") {
        Libc::Uclibc
    } else if path.starts_with("/system/bin/linker") {
        Libc::Bionic
    } else if name.starts_with("ld-linux")
        || name.starts_with("ld64.so")
        || name.starts_with("ld.so")
    {
        Libc::Glibc
    } else {
        Libc::Unknown
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::Tree;
    use repot_model::{Arch, Libc};

    #[test]
    fn what_cannot_run_is_rejected_with_the_reason() {
        for (reason, tree) in [
            (
                "does not exist",
                Tree::new().link("/sbin/init", "/lib/systemd/systemd"),
            ),
            ("leads in a circle", Tree::new().link("/sbin/init", "init")),
            (
                "is not executable",
                Tree::new().file("/sbin/init", "#!/bin/sh\n"),
            ),
            ("is empty", Tree::new().script("/sbin/init", "")),
            ("is a directory", Tree::new().dir("/sbin/init")),
            (
                "neither an ELF program nor a script",
                Tree::new().script("/sbin/init", "hello"),
            ),
            ("cut off", Tree::new().script("/sbin/init", "\u{7f}ELF")),
            (
                "its interpreter /bin/sh does not exist",
                Tree::new().script("/sbin/init", "#!/bin/sh\n"),
            ),
            (
                "needs the loader /lib64/ld-linux-x86-64.so.2",
                Tree::new().dynamic_elf("/sbin/init", "/lib64/ld-linux-x86-64.so.2"),
            ),
            (
                "which is no ELF file",
                Tree::new()
                    .dynamic_elf("/sbin/init", "/lib/ld.so")
                    .file("/lib/ld.so", "x"),
            ),
            (
                "its interpreter /bin/sh is neither",
                Tree::new()
                    .script("/sbin/init", "#!/bin/sh\n")
                    .script("/bin/sh", "x"),
            ),
            (
                "too many interpreters",
                Tree::new().script("/sbin/init", "#!/sbin/init\n"),
            ),
        ] {
            let facts = tree.facts();
            assert!(facts.init.is_none(), "{reason}");
            let seen = &facts.rejected_inits[0].seen;
            assert!(seen.contains(reason), "{reason:?} not in {seen:?}");
        }
    }

    #[test]
    fn the_search_goes_on_behind_a_broken_candidate() {
        let tree = Tree::new()
            .link("/sbin/init", "/nowhere")
            .elf("/lib/ld-musl-x86_64.so.1", "")
            .dynamic_elf("/usr/lib/systemd/systemd", "/lib/ld-musl-x86_64.so.1");
        let facts = tree.facts();
        let init = facts.init.unwrap();
        assert_eq!(init.path, "/usr/lib/systemd/systemd");
        assert_eq!(
            (facts.arch, facts.libc),
            (Some(Arch::X86_64), Some(Libc::Musl))
        );
        assert_eq!(facts.rejected_inits.len(), 1);
    }

    #[test]
    fn merged_directories_are_reported_once() {
        let tree = Tree::new()
            .link("/usr/sbin/init", "/nowhere")
            .link("/sbin", "usr/sbin");
        assert_eq!(tree.facts().rejected_inits.len(), 1);
    }

    #[test]
    fn no_init_still_has_an_architecture() {
        let facts = Tree::new().elf("/bin/sh", "").facts();
        assert!(facts.init.is_none() && facts.rejected_inits.is_empty());
        assert_eq!(
            (facts.arch, facts.libc),
            (Some(Arch::X86_64), Some(Libc::Static))
        );
    }
}
