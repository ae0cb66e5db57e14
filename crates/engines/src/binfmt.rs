//! The handlers that this host's kernel has for programs of other architectures.
//!
//! # Source
//! Linux, Documentation/admin-guide/binfmt-misc.rst; what a handler's file says: `entry_status` in `fs/binfmt_misc.c`.

use repot_model::{Emulators, Handler};
use repot_rootfs::{Program, RootRead};
use std::fs;
use std::path::Path;

const DIR: &str = "/proc/sys/fs/binfmt_misc";

/// What is registered, as this process sees it. Since Linux 6.7 a user namespace may have an instance of its own; one without it,
/// such as a machine's, uses that of the nearest namespace around it that has one.
pub(crate) fn emulators() -> Emulators {
    let Ok(status) = fs::read_to_string(Path::new(DIR).join("status")) else {
        return Emulators::NotMounted;
    };
    if status.trim() != "enabled" {
        return Emulators::SwitchedOff;
    }
    let host = RootRead::open(Path::new("/")).ok();
    let mut found: Vec<Handler> = fs::read_dir(DIR)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = fs::read_to_string(entry.path()).ok()?;
            let mut handler = handler(&name, &text)?;
            let emulator = host.as_ref()?.program(&handler.interpreter);
            if let Ok(Program::Elf { interpreter, .. }) = emulator {
                handler.loader = interpreter;
            }
            Some(handler)
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Emulators::Registered(found)
}

/// A handler's file. `None`: it is for the ends of names, or is none.
fn handler(name: &str, text: &str) -> Option<Handler> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| Some(line.strip_prefix(key)?.trim()))
    };
    let magic = bytes(value("magic ")?)?;
    let mask = match value("mask ") {
        Some(mask) => bytes(mask)?,
        None => vec![0xff; magic.len()],
    };
    if magic.is_empty() || mask.len() != magic.len() {
        return None;
    }
    Some(Handler {
        name: name.to_owned(),
        is_enabled: text.lines().next()? == "enabled",
        interpreter: value("interpreter ")?.to_owned(),
        flags: value("flags:")?.to_owned(),
        offset: value("offset ")?.parse().ok()?,
        magic,
        mask,
        loader: None,
    })
}

/// `7f45` as bytes.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the letter from Linux 6.18.
    const AARCH64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n\
magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    /// The beginning of an ELF file: class, byte order, kind, machine.
    fn head(class: u8, order: u8, kind: u8, machine: u8) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
        head[16] = kind;
        head[18] = machine;
        head
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        let found = handler("qemu-aarch64", AARCH64).unwrap();
        assert!(found.is_enabled && found.is_for_elf() && found.works_everywhere());
        assert!(found.has('F') && found.has('P') && !found.has('C'));
        assert_eq!(
            found.interpreter,
            "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"
        );
        for (head, takes) in [
            (head(2, 1, 2, 183), true),
            (head(2, 1, 3, 183), true),
            (head(2, 1, 1, 183), false),
            (head(2, 1, 2, 62), false),
            (head(1, 1, 2, 183), false),
            (head(2, 2, 2, 183), false),
        ] {
            assert_eq!(found.takes(&head), takes, "{head:?}");
        }
        let plain = handler(
            "x",
            "disabled\ninterpreter /x\nflags: \noffset 4\nmagic 41\n",
        )
        .unwrap();
        assert!(!plain.is_enabled && plain.flags.is_empty() && !plain.is_for_elf());
        assert!(plain.takes(b"....A") && !plain.takes(b"....B"));
    }

    #[test]
    fn what_is_no_handler_is_none() {
        for text in [
            "",
            "enabled\n",
            "enabled\ninterpreter /x\nflags: \nextension .exe\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 4\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 4z\n",
            "enabled\ninterpreter /x\nflags: \noffset -1\nmagic 41\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 4142\nmask ff\n",
            "enabled\nflags: \noffset 0\nmagic 4142\n",
        ] {
            assert!(handler("x", text).is_none(), "{text:?}");
        }
    }
}
