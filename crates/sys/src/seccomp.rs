//! Installing a seccomp filter without setting no_new_privs (set-uid programs must keep working in a machine).
#![allow(
    unsafe_code,
    reason = "seccomp(2) has no safe wrapper that leaves no_new_privs alone"
)]

use crate::error::{Result, last};

/// One classic BPF instruction (`struct sock_filter`, linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a filter for this process and all that it starts (seccomp(2), `SECCOMP_SET_MODE_FILTER`).
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN in the current user namespace; `EINVAL` for an invalid or over-long program.
pub fn install_filter(program: &[Instruction]) -> Result<()> {
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    // `Instruction` has the layout of `sock_filter`: same fields, repr(C). The kernel only reads through the pointer.
    let raw = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `raw` points to `length` instructions that live until the call returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const raw,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(last("seccomp", "SET_MODE_FILTER"))
    }
}
