//! Reads what the kernel would look at before it executes a file of the tree: ELF header and loader, or `#!` line.
//!
//! Also the search for texts inside binaries, by which inits are told apart. Nothing is ever executed.

use crate::format::elf::{ElfError, HEADER_BYTES, Header};
use crate::{Error, Result, RootRead};
use memchr::memmem;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The kernel reads this much of a `#!` line (`BINPRM_BUF_SIZE`, `include/uapi/linux/binfmts.h`).
const SCRIPT_LINE_BYTES: usize = 256;

/// What a file is to execve(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An ELF file.
    Elf {
        /// Its header.
        header: Header,
        /// The dynamic loader that it asks for: a path inside the tree.
        interpreter: Option<String>,
    },
    /// A script.
    Script {
        /// Path inside the tree of the interpreter, as the `#!` line gives it.
        interpreter: String,
        /// The one argument that the line may give.
        argument: Option<String>,
    },
    /// An empty file.
    Empty,
    /// An ELF file that makes no sense.
    Broken(ElfError),
    /// Something else.
    Other,
}

impl RootRead {
    /// What execve(2) would make of the file.
    ///
    /// # Errors
    /// As [`Self::open_file`].
    pub fn program(&self, path: &str) -> Result<Program> {
        let (file, found) = self.open_file(path)?;
        if found.size_bytes == 0 {
            return Ok(Program::Empty);
        }
        let head = read_at(path, &file, 0, SCRIPT_LINE_BYTES as u64)?;
        if head.starts_with(b"#!") {
            return Ok(script(&head));
        }
        match Header::parse(&head[..head.len().min(64)]) {
            Ok(header) => elf(path, &file, header),
            Err(ElfError::NoElf) => Ok(Program::Other),
            Err(broken) => Ok(Program::Broken(broken)),
        }
    }
}

const _: () = assert!(HEADER_BYTES == 64, "program() hands over that much");

fn elf(path: &str, file: &File, header: Header) -> Result<Program> {
    let table = read_at(path, file, header.headers_at, header.table_bytes())?;
    let at = match header.interpreter(&table) {
        Ok(at) => at,
        Err(broken) => return Ok(Program::Broken(broken)),
    };
    let interpreter = match at {
        None => None,
        Some(at) => {
            let mut name = read_at(path, file, at.offset, at.bytes)?;
            // The kernel demands the NUL at the end (`fs/binfmt_elf.c`); so do we, or it is no name.
            if name.pop() != Some(0) {
                return Ok(Program::Broken(ElfError::Broken));
            }
            Some(String::from_utf8_lossy(&name).into_owned())
        }
    };
    Ok(Program::Elf {
        header,
        interpreter,
    })
}

/// Splits a `#!` line as `fs/binfmt_script.c` does: the interpreter, then the whole rest as one argument.
fn script(head: &[u8]) -> Program {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start_matches("#!").trim_matches([' ', '\t']);
    let (interpreter, argument) = match text.split_once([' ', '\t']) {
        Some((interpreter, rest)) => (interpreter, Some(rest.trim_start_matches([' ', '\t']))),
        None => (text, None),
    };
    if interpreter.is_empty() {
        return Program::Other;
    }
    Program::Script {
        interpreter: interpreter.to_owned(),
        argument: argument.filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// Up to `bytes` from `offset`; less at the end of the file.
fn read_at(path: &str, file: &File, offset: u64, bytes: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let Some(at) = offset.checked_add(filled as u64) else {
            break;
        };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // An offset beyond what the file system can address; the file is then as good as short.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => break,
            Err(source) => {
                return Err(Error::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Whether `needle` occurs in `bytes`.
pub fn contains(bytes: &[u8], needle: &str) -> bool {
    memmem::find(bytes, needle.as_bytes()).is_some()
}

/// The texts in `bytes` that begin with `prefix`, each up to the first byte that is not printable ASCII.
pub fn texts<'a>(bytes: &'a [u8], prefix: &'a str) -> impl Iterator<Item = &'a str> {
    memmem::find_iter(bytes, prefix.as_bytes()).map(|at| {
        let rest = bytes.get(at..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b' '..=b'~'))
            .unwrap_or(rest.len());
        // Printable ASCII is UTF-8.
        std::str::from_utf8(rest.get(..end).unwrap_or_default()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lines() {
        let script = |text: &str| script(text.as_bytes());
        let of = |interpreter: &str, argument: Option<&str>| Program::Script {
            interpreter: interpreter.into(),
            argument: argument.map(Into::into),
        };
        assert_eq!(script("#!/bin/sh\nrest"), of("/bin/sh", None));
        assert_eq!(script("#! /bin/sh -e -u \n"), of("/bin/sh", Some("-e -u")));
        assert_eq!(script("#!\n"), Program::Other);
        assert_eq!(
            script("#!/bin/execlineb\t-P"),
            of("/bin/execlineb", Some("-P"))
        );
    }

    #[test]
    fn texts_in_binaries() {
        let bytes = b"\0BusyBox v1.36.1 (Debian)\n\0x BusyBox v2\xff";
        let found: Vec<&str> = texts(bytes, "BusyBox v").collect();
        assert_eq!(found, ["BusyBox v1.36.1 (Debian)", "BusyBox v2"]);
        assert!(contains(bytes, "Debian") && !contains(bytes, "systemd"));
    }
}
