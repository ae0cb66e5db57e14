//! CPU architectures and C libraries, as found in the ELF header and interpreter of a program.

use serde::{Deserialize, Serialize};

/// CPU architecture and width of a program, from its ELF header (`e_machine`, class, byte order; elf(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each variant is the architecture's usual name")]
pub enum Arch {
    X86_64,
    X86,
    Aarch64,
    Arm,
    Riscv64,
    Ppc64le,
    Ppc64,
    Ppc,
    S390x,
    Mips,
    Mipsel,
    Mips64el,
    Loongarch64,
    Sparc64,
    M68k,
    Alpha,
    Hppa,
    Ia64,
    Sh4,
    /// An `e_machine` value that is none of the above.
    #[serde(untagged)]
    Other(u16),
}

impl Arch {
    /// From ELF's `e_machine`, `EI_CLASS` (is it 64-bit) and `EI_DATA` (is it little-endian).
    pub fn from_elf(machine: u16, is_64: bool, is_little: bool) -> Self {
        match (machine, is_64, is_little) {
            (62, ..) => Self::X86_64,
            (3, ..) => Self::X86,
            (183, ..) => Self::Aarch64,
            (40, ..) => Self::Arm,
            (243, true, _) => Self::Riscv64,
            (21, _, true) => Self::Ppc64le,
            (21, _, false) => Self::Ppc64,
            (20, ..) => Self::Ppc,
            (22, ..) => Self::S390x,
            (8, true, true) => Self::Mips64el,
            (8, _, true) => Self::Mipsel,
            (8, ..) => Self::Mips,
            (258, ..) => Self::Loongarch64,
            (43, ..) => Self::Sparc64,
            (4, ..) => Self::M68k,
            (0x9026, ..) => Self::Alpha,
            (15, ..) => Self::Hppa,
            (50, ..) => Self::Ia64,
            (42, ..) => Self::Sh4,
            (other, ..) => Self::Other(other),
        }
    }

    /// The architecture that this program was built for, which is what the kernel below runs natively.
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self::X86_64,
            "x86" => Self::X86,
            "aarch64" => Self::Aarch64,
            "arm" => Self::Arm,
            "riscv64" => Self::Riscv64,
            "powerpc64" if cfg!(target_endian = "little") => Self::Ppc64le,
            "powerpc64" => Self::Ppc64,
            "s390x" => Self::S390x,
            "loongarch64" => Self::Loongarch64,
            _ => Self::Other(0),
        }
    }

    /// Whether a kernel of architecture `host` runs programs of this one without emulation.
    ///
    /// 32-bit x86 runs on x86-64 (`CONFIG_IA32_EMULATION`), 32-bit arm usually on aarch64 (`CONFIG_COMPAT`).
    pub fn runs_on(self, host: Self) -> bool {
        self == host
            || matches!(
                (self, host),
                (Self::X86, Self::X86_64) | (Self::Arm, Self::Aarch64)
            )
    }

    /// The suffix of QEMU's user-mode emulator, as in `qemu-aarch64-static`.
    pub fn qemu(self) -> Option<&'static str> {
        Some(match self {
            Self::X86_64 => "x86_64",
            Self::X86 => "i386",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
            Self::Riscv64 => "riscv64",
            Self::Ppc64le => "ppc64le",
            Self::Ppc64 => "ppc64",
            Self::Ppc => "ppc",
            Self::S390x => "s390x",
            Self::Mips => "mips",
            Self::Mipsel => "mipsel",
            Self::Mips64el => "mips64el",
            Self::Loongarch64 => "loongarch64",
            Self::Sparc64 => "sparc64",
            Self::M68k => "m68k",
            Self::Alpha => "alpha",
            Self::Hppa => "hppa",
            Self::Sh4 => "sh4",
            Self::Ia64 | Self::Other(_) => return None,
        })
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.qemu()) {
            (Self::Other(machine), _) => write!(f, "ELF machine {machine}"),
            (_, Some(name)) => f.write_str(name),
            (_, None) => f.write_str("ia64"),
        }
    }
}

/// The C library that a tree's programs use; it decides, for one, which password hashes can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// GNU libc: interpreter `ld-linux*.so*` or `ld64.so*`.
    Glibc,
    /// musl: interpreter `ld-musl-*.so.1`.
    Musl,
    /// uClibc or uClibc-ng: interpreter `ld-uClibc*.so*`, `ld64-uClibc*`.
    Uclibc,
    /// bionic: interpreter `/system/bin/linker*`.
    Bionic,
    /// The program has no interpreter: static, and the library inside unknown.
    Static,
    /// Another interpreter.
    Unknown,
}
