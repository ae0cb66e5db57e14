//! What runs trees of other architectures here.

use super::{Grade, Item, item};
use repot_model::Emulators;

const INSTALL: &str = "apt-get install qemu-user-static binfmt-support";

pub(super) fn emulators(found: &Emulators) -> Item {
    let say = |grade, text: &str, hint| item("kernel", "emulators", grade, text, hint);
    let handlers = match found {
        Emulators::NotMounted => {
            return say(
                Grade::Limited,
                "binfmt_misc is not mounted: trees of other architectures do not run",
                Some(
                    "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; apt-get install qemu-user-static binfmt-support",
                ),
            );
        }
        Emulators::SwitchedOff => {
            return say(
                Grade::Limited,
                "binfmt_misc is switched off: trees of other architectures do not run",
                Some("echo 1 >/proc/sys/fs/binfmt_misc/status"),
            );
        }
        Emulators::Registered(handlers) => handlers.iter().filter(|it| it.is_for_elf()),
    };
    let (good, other): (Vec<_>, Vec<_>) = handlers.partition(|it| it.works_everywhere());
    let names = |handlers: &[_]| {
        let names: Vec<&str> = handlers
            .iter()
            .map(|it: &&repot_model::Handler| it.name.as_str())
            .collect();
        names.join(", ")
    };
    match (good.as_slice(), other.as_slice()) {
        ([], []) => say(
            Grade::Limited,
            "none: trees of other architectures do not run",
            Some(INSTALL),
        ),
        (good, []) => say(Grade::Ok, &names(good), None),
        (good, other) => {
            let good = match good {
                [] => String::new(),
                _ => format!("{}; ", names(good)),
            };
            say(
                Grade::Limited,
                &format!(
                    "{good}switched off, dynamic or without the flag F, so not in containers: {}",
                    names(other)
                ),
                Some(INSTALL),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repot_model::Handler;

    #[test]
    fn what_works_in_containers_is_told_apart() {
        let handler = |name: &str, flags: &str| Handler {
            name: name.into(),
            is_enabled: true,
            interpreter: "/x".into(),
            flags: flags.into(),
            offset: 0,
            magic: b"\x7fELF\x02".to_vec(),
            mask: vec![0xff; 5],
            loader: None,
        };
        let java = Handler {
            magic: b"\xca\xfe\xba\xbe".to_vec(),
            ..handler("java", "")
        };
        let (arm, aarch64) = (handler("qemu-arm", "OC"), handler("qemu-aarch64", "OCF"));
        for (handlers, grade, said) in [
            (vec![], Grade::Limited, "none"),
            (vec![java.clone()], Grade::Limited, "none"),
            (vec![java, aarch64.clone()], Grade::Ok, "qemu-aarch64"),
            (vec![aarch64, arm.clone()], Grade::Limited, "qemu-aarch64; "),
            (vec![arm], Grade::Limited, "not in containers: qemu-arm"),
        ] {
            let found = emulators(&Emulators::Registered(handlers));
            assert!(
                found.grade == grade && found.found.contains(said),
                "{found:?}"
            );
            assert_eq!(found.hint.is_none(), grade == Grade::Ok);
        }
    }
}
