//! The last steps before another program takes over: descriptors, keyring, execve(2).
#![allow(
    unsafe_code,
    reason = "execve, close_range and keyctl have no safe wrapper"
)]

use crate::error::{Result, last};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Replaces this process. Returns only if that fails.
///
/// Unlike `std::process::Command::exec` this neither allocates nor searches `PATH`, so that it may stand at the
/// end of a list of steps that were prepared before the fork.
pub fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> crate::Error {
    let mut argv_ptrs: Vec<*const libc::c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    argv_ptrs.push(ptr::null());
    let mut env_ptrs: Vec<*const libc::c_char> = env.iter().map(|var| var.as_ptr()).collect();
    env_ptrs.push(ptr::null());
    // SAFETY: both arrays end in a null pointer and hold pointers to NUL-terminated strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv_ptrs.as_ptr(), env_ptrs.as_ptr()) };
    last("execve", format!("{program:?}"))
}

/// Ends this process at once, without running destructors or flushing anything: for children of a fork.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9; before that by walking `/proc/self/fd`).
///
/// # Errors
/// Neither the call nor `/proc/self/fd` is available.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: closing descriptors breaks no memory; callers of this are about to exec and use none of them.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0u32) };
    if done == 0 {
        return Ok(());
    }
    close_each(&open_descriptors(first)?);
    Ok(())
}

/// Closes these descriptors, of which some may be closed already.
pub fn close_each(descriptors: &[i32]) {
    for fd in descriptors {
        // SAFETY: as for `close_from`; a number that is closed already only gives EBADF.
        unsafe { libc::close(*fd) };
    }
}

/// Closes every descriptor but the three standard ones and these.
///
/// # Errors
/// `/proc/self/fd` cannot be read.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    for fd in open_descriptors(3)? {
        if keep.iter().all(|kept| kept.as_raw_fd() != fd) {
            // SAFETY: the caller vouches that nothing of this process uses other descriptors: it has just started.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2), `CLOSE_RANGE_CLOEXEC`, Linux 5.11), so that nothing
/// that a careless caller left open reaches another program.
///
/// # Errors
/// As for [`close_from`].
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: the flag changes no memory of ours.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return Ok(());
    }
    for fd in open_descriptors(first)? {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// The numbers of the open descriptors from `first` on, that of the listing itself included.
///
/// # Errors
/// `/proc/self/fd` cannot be read.
pub fn open_descriptors(first: u32) -> Result<Vec<i32>> {
    let listing = std::fs::read_dir("/proc/self/fd").map_err(|_| last("open", "/proc/self/fd"))?;
    Ok(listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first))
        .collect())
}

/// Gives the process a new, empty session keyring, so that it does not see the caller's keys
/// (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING` with no name).
///
/// # Errors
/// `ENOSYS` where the kernel has no keyrings or a filter hides them; `EDQUOT` when the user's quota of keys is used up.
pub fn new_session_keyring() -> Result<()> {
    // SAFETY: the call takes a null name here and touches no memory of ours.
    let id = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            ptr::null::<libc::c_char>(),
        )
    };
    if id < 0 {
        Err(last("keyctl", "JOIN_SESSION_KEYRING, NULL"))
    } else {
        Ok(())
    }
}
