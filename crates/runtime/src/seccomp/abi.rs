//! The kinds of programs that a kernel runs, each with its own numbers for the system calls.

use crate::error::{Error, Result};

/// A way to call the kernel.
#[derive(Debug)]
pub(super) struct Abi {
    /// Its name in profiles (libseccomp).
    pub(super) name: &'static str,
    /// Go's name for the architecture, in Docker's profiles.
    pub(super) go_name: &'static str,
    /// What the kernel calls it in `seccomp_data.arch` (linux/audit.h).
    pub(super) audit: u32,
    /// Numbers by name.
    number: fn(&str) -> Option<i32>,
    /// Bit in the number of calls of another ABI under the same name, which no list knows (x86-64: x32).
    pub(super) foreign_bit: Option<u32>,
}

macro_rules! number {
    ($table:ident) => {
        |name: &str| {
            name.parse::<syscalls::$table::Sysno>()
                .ok()
                .map(|number| number.id())
        }
    };
}

/// The calls that are the architecture's own have no row in the kernel's table (arch/arm/include/uapi/asm/unistd.h).
fn arm(name: &str) -> Option<i32> {
    match name {
        "breakpoint" => Some(0xf_0001),
        "cacheflush" => Some(0xf_0002),
        "set_tls" => Some(0xf_0005),
        "get_tls" => Some(0xf_0006),
        _ => number!(arm)(name),
    }
}

/// The native kind first, then what the kernel runs besides (`CONFIG_IA32_EMULATION`, `CONFIG_COMPAT`).
const X86_64: &[Abi] = &[
    Abi {
        name: "SCMP_ARCH_X86_64",
        go_name: "amd64",
        audit: 0xc000_003e,
        number: number!(x86_64),
        foreign_bit: Some(0x4000_0000),
    },
    Abi {
        name: "SCMP_ARCH_X86",
        go_name: "386",
        audit: 0x4000_0003,
        number: number!(x86),
        foreign_bit: None,
    },
];

const AARCH64: &[Abi] = &[
    Abi {
        name: "SCMP_ARCH_AARCH64",
        go_name: "arm64",
        audit: 0xc000_00b7,
        number: number!(aarch64),
        foreign_bit: None,
    },
    Abi {
        name: "SCMP_ARCH_ARM",
        go_name: "arm",
        audit: 0x4000_0028,
        number: arm,
        foreign_bit: None,
    },
];

const RISCV64: &[Abi] = &[Abi {
    name: "SCMP_ARCH_RISCV64",
    go_name: "riscv64",
    audit: 0xc000_00f3,
    number: number!(riscv64),
    foreign_bit: None,
}];

/// What this host's kernel runs.
///
/// # Errors
/// [`Error::Invalid`] on an architecture without table.
pub(super) fn of_host() -> Result<&'static [Abi]> {
    of(std::env::consts::ARCH).ok_or_else(|| Error::Invalid {
        what: "system-call filter".into(),
        why: format!("no table of system calls for {}", std::env::consts::ARCH),
    })
}

/// What a kernel of this architecture runs.
pub(super) fn of(arch: &str) -> Option<&'static [Abi]> {
    match arch {
        "x86_64" => Some(X86_64),
        "aarch64" => Some(AARCH64),
        "riscv64" => Some(RISCV64),
        _ => None,
    }
}

/// 32-bit x86 has most socket calls twice: as calls of their own and as numbers for `socketcall`, from 1 on
/// (linux/net.h).
const SOCKETCALL: &[&str] = &[
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

impl Abi {
    /// The number of a call; `None` where this kind of program has none of that name.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        (self.number)(name).map(i64::from)
    }

    /// The number and first argument under which the call can be made as well.
    pub(super) fn multiplexed(&self, name: &str) -> Option<(i64, u64)> {
        if self.name != "SCMP_ARCH_X86" {
            return None;
        }
        let at = SOCKETCALL.iter().position(|known| *known == name)?;
        Some((self.number("socketcall")?, u64::try_from(at + 1).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        // arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl
        for (arch, native, compat) in [
            ("x86_64", 321, Some(357)),
            ("aarch64", 280, Some(386)),
            ("riscv64", 280, None),
        ] {
            let abis = of(arch).unwrap();
            assert_eq!(abis[0].number("bpf"), Some(native), "{arch}");
            let of_compat = abis.get(1).and_then(|abi| abi.number("bpf"));
            assert_eq!(of_compat, compat, "{arch}");
            assert_eq!(abis[0].number("no_such_call"), None);
        }
        assert_eq!(X86_64[1].multiplexed("sendmmsg"), Some((102, 20)));
        assert_eq!(X86_64[0].multiplexed("sendmmsg"), None);
    }
}
