//! Emulators that the host's kernel starts by itself for programs that it cannot execute (binfmt_misc).

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a host has of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "handlers")]
pub enum Emulators {
    /// binfmt_misc is not mounted, so nobody can tell.
    NotMounted,
    /// All handlers are switched off together.
    SwitchedOff,
    /// These are registered.
    Registered(Vec<Handler>),
}

/// One handler of binfmt_misc for programs that are known by some of their first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// Its file below `/proc/sys/fs/binfmt_misc`.
    pub name: String,
    /// Whether the kernel uses it.
    pub is_enabled: bool,
    /// Absolute path of the emulator.
    pub interpreter: String,
    /// Letters: `F`, the emulator was opened when it was registered and is there in every container; `P`, it is told `argv[0]`;
    /// `O`, the program is opened for it; `C`, set-uid programs get their privileges.
    pub flags: String,
    /// Where the bytes are.
    pub offset: usize,
    /// The bytes.
    pub magic: Vec<u8>,
    /// Which bits of them count; as long as they.
    pub mask: Vec<u8>,
    /// The dynamic loader that the emulator itself wants, as the host has it.
    pub loader: Option<String>,
}

impl Handler {
    /// Whether it is for programs that begin so (`search_binfmt_handler` in `fs/binfmt_misc.c`).
    pub fn takes(&self, head: &[u8]) -> bool {
        let there = head.get(self.offset..).unwrap_or_default();
        there.len() >= self.magic.len()
            && self
                .magic
                .iter()
                .zip(&self.mask)
                .zip(there)
                .all(|((magic, mask), byte)| (byte ^ magic) & mask == 0)
    }

    /// Whether it has that flag.
    pub fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// Whether it works in every container: the emulator was opened when it was registered, and wants nothing else.
    pub fn works_everywhere(&self) -> bool {
        self.is_enabled && self.has('F') && self.loader.is_none()
    }

    /// Whether it is for ELF programs, and not for those of some language.
    pub fn is_for_elf(&self) -> bool {
        self.offset == 0 && self.magic.starts_with(b"\x7fELF")
    }

    /// What registers it with one more flag, as `register` takes it.
    pub fn with_flag(&self, flag: char) -> String {
        let escaped = |bytes: &[u8]| -> String {
            bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
        };
        format!(
            ":{}:M:{}:{}:{}:{}:{}{flag}",
            self.name,
            self.offset,
            escaped(&self.magic),
            escaped(&self.mask),
            self.interpreter,
            self.flags
        )
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match self.flags.as_str() {
            "" => "no flags",
            _ => "flags ",
        };
        write!(
            f,
            "{} (binfmt_misc: {}, {flags}{})",
            self.interpreter, self.name, self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_bytes_decide() {
        let handler = Handler {
            name: "x".into(),
            is_enabled: true,
            interpreter: "/x".into(),
            flags: "O".into(),
            offset: 1,
            magic: vec![b'E', 2, 0xb7],
            mask: vec![0xff, 0xfe, 0xff],
            loader: None,
        };
        for (head, takes) in [
            (&b"\x7fE\x02\xb7"[..], true),
            (b"\x7fE\x03\xb7more", true),
            (b"\x7fE\x04\xb7", false),
            (b"\x7fE\x02", false),
            (b"", false),
        ] {
            assert_eq!(handler.takes(head), takes, "{head:?}");
        }
        assert_eq!(
            handler.with_flag('F'),
            r":x:M:1:\x45\x02\xb7:\xff\xfe\xff:/x:OF"
        );
    }
}
