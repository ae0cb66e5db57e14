//! How the host's kernel starts a tree's programs: itself, by an emulator, or not at all.

use crate::candidate::{INTERPRETER_DEPTH, elf_facts};
use crate::inspect::ANY_PROGRAM;
use repot_model::{Arch, Emulators, Facts, Handler};
use repot_rootfs::{Program, RootRead};

/// The kernel looks at this much of a program (`BINPRM_BUF_SIZE`, `include/uapi/linux/binfmts.h`).
const HEAD_BYTES: u64 = 256;

/// What becomes of a tree's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// The processor runs them, or nothing is known of them.
    Native,
    /// The kernel starts this emulator for them.
    Emulated(Handler),
    /// They cannot be executed.
    Impossible {
        /// Why not.
        why: String,
        /// What to install or to do.
        hint: String,
    },
}

/// How the tree's init, or what else it has for programs, is executed.
pub fn execution(root: &RootRead, facts: &Facts, emulators: &Emulators) -> Execution {
    let Some(arch) = facts.arch.filter(|arch| !arch.runs_on(Arch::host())) else {
        return Execution::Native;
    };
    let Some(qemu) = arch.qemu() else {
        return impossible(
            "no emulator is known for it",
            format!("take a tree for {}, or a host for {arch}", Arch::host()),
        );
    };
    let install = format!(
        "`apt-get install qemu-user-static binfmt-support`, or what your distribution calls it, registers qemu-{qemu}"
    );
    let handlers = match emulators {
        Emulators::NotMounted => {
            return impossible(
                "binfmt_misc, by which the kernel starts emulators, is not mounted",
                format!(
                    "`mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc` shows what is registered; {install}"
                ),
            );
        }
        Emulators::SwitchedOff => {
            return impossible(
                "binfmt_misc, by which the kernel starts emulators, is switched off",
                "`echo 1 >/proc/sys/fs/binfmt_misc/status` switches it on".into(),
            );
        }
        Emulators::Registered(handlers) => handlers,
    };
    let head = head(root, facts);
    let mut fitting: Vec<&Handler> = handlers.iter().filter(|it| it.takes(&head)).collect();
    fitting.sort_by_key(|handler| !handler.is_enabled);
    let Some(&handler) = fitting.first() else {
        return impossible("no emulator is registered for it", install);
    };
    if !handler.is_enabled {
        return impossible(
            &format!("its emulator, {handler}, is switched off"),
            format!(
                "`echo 1 >/proc/sys/fs/binfmt_misc/{}` switches it on",
                handler.name
            ),
        );
    }
    // Without the flag the kernel looks for the emulator in the machine, and always there for the emulator's own loader.
    if handler.has('F') {
        return match &handler.loader {
            Some(loader) if !is_native(root, loader) => impossible(
                &format!(
                    "its emulator, {handler}, is a dynamic program, whose loader {loader} is not in the tree"
                ),
                format!("a static one is needed: {install}"),
            ),
            _ => Execution::Emulated(handler.clone()),
        };
    }
    if is_native(root, &handler.interpreter) {
        return Execution::Emulated(handler.clone());
    }
    let why = format!(
        "its emulator, {handler}, is not in the tree, where the kernel looks for it without the flag F"
    );
    if handler.loader.is_some() {
        return impossible(
            &why,
            format!("a static one with that flag is needed: {install}"),
        );
    }
    let dir = "/proc/sys/fs/binfmt_misc";
    impossible(
        &why,
        format!(
            "register it with F: echo -1 >{dir}/{}; printf %s '{}' >{dir}/register",
            handler.name,
            handler.with_flag('F')
        ),
    )
}

fn impossible(why: &str, hint: String) -> Execution {
    Execution::Impossible {
        why: why.to_owned(),
        hint,
    }
}

/// Whether there is a program at that path in the tree that the host's processor runs.
fn is_native(root: &RootRead, path: &str) -> bool {
    match root.program(path) {
        Ok(Program::Elf {
            header,
            interpreter,
        }) => {
            let elf = elf_facts(root, header, interpreter);
            elf.is_ok_and(|elf| elf.arch.runs_on(Arch::host())) && root.is_executable(path)
        }
        Ok(Program::Script { .. } | Program::Empty | Program::Broken(_) | Program::Other)
        | Err(_) => false,
    }
}

/// The first bytes of the program that is executed first: the init or, of a script, its interpreter.
fn head(root: &RootRead, facts: &Facts) -> Vec<u8> {
    let init = facts.init.as_ref().map(|init| init.resolved.clone());
    let others = ANY_PROGRAM.iter().map(|path| (*path).to_owned());
    for mut path in init.into_iter().chain(others) {
        for _ in 0..INTERPRETER_DEPTH {
            match root.program(&path) {
                Ok(Program::Script { interpreter, .. }) => path = interpreter,
                Ok(Program::Elf { .. }) => {
                    return root.read_head(&path, HEAD_BYTES).unwrap_or_default();
                }
                Ok(Program::Empty | Program::Broken(_) | Program::Other) | Err(_) => break,
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Tree;

    /// A handler for programs of the host's own kind, which is what fake trees have.
    fn handler(flags: &str) -> Handler {
        Handler {
            name: "qemu-s390x".into(),
            is_enabled: true,
            interpreter: "/usr/bin/qemu-s390x-static".into(),
            flags: flags.into(),
            offset: 0,
            magic: b"\x7fELF".to_vec(),
            mask: vec![0xff; 4],
            loader: None,
        }
    }

    fn execute(tree: &Tree, arch: Option<Arch>, emulators: &Emulators) -> Execution {
        let mut facts = tree.facts();
        facts.arch = arch;
        execution(&tree.root(), &facts, emulators)
    }

    #[test]
    fn who_executes_it() {
        let tree = Tree::new().elf("/sbin/init", "SysV init version");
        let with = |handler: Handler| {
            execute(
                &tree,
                Some(Arch::S390x),
                &Emulators::Registered(vec![handler]),
            )
        };
        for arch in [None, Some(Arch::host())] {
            assert_eq!(
                execute(&tree, arch, &Emulators::NotMounted),
                Execution::Native
            );
        }
        assert_eq!(with(handler("OCF")), Execution::Emulated(handler("OCF")));
        let off = Handler {
            is_enabled: false,
            ..handler("F")
        };
        let other = Handler {
            magic: b"\x7fELG".to_vec(),
            ..handler("F")
        };
        let dynamic = |flags| Handler {
            loader: Some("/lib64/ld-linux-x86-64.so.2".into()),
            ..handler(flags)
        };
        let none = Emulators::Registered(Vec::new());
        let refused = [
            (
                execute(&tree, Some(Arch::S390x), &Emulators::NotMounted),
                "not mounted",
                "mount -t binfmt_misc",
            ),
            (
                execute(&tree, Some(Arch::S390x), &Emulators::SwitchedOff),
                "switched off",
                "binfmt_misc/status",
            ),
            (
                execute(&tree, Some(Arch::S390x), &none),
                "no emulator is registered",
                "qemu-user-static",
            ),
            (
                execute(&tree, Some(Arch::Ia64), &none),
                "no emulator is known",
                "take a tree",
            ),
            (
                with(other),
                "no emulator is registered",
                "registers qemu-s390x",
            ),
            (with(off), "switched off", "binfmt_misc/qemu-s390x"),
            (
                with(handler("OC")),
                "without the flag F",
                ":qemu-s390x:M:0:\\x7f\\x45\\x4c\\x46:",
            ),
            (with(dynamic("")), "without the flag F", "a static one"),
            (with(dynamic("F")), "is a dynamic program", "a static one"),
        ];
        for (found, wanted, remedy) in refused {
            let Execution::Impossible { why, hint } = found else {
                panic!("{wanted}: {found:?}")
            };
            assert!(
                why.contains(wanted) && hint.contains(remedy),
                "{why}; {hint}"
            );
        }
    }

    #[test]
    fn an_emulator_in_the_tree_will_do() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/usr/bin/qemu-s390x-static", "qemu");
        let registered = Emulators::Registered(vec![handler("OC")]);
        assert_eq!(
            execute(&tree, Some(Arch::S390x), &registered),
            Execution::Emulated(handler("OC"))
        );
    }
}
