//! Locks on single bytes of a file: fcntl(2), "Open file description locks".
#![allow(unsafe_code, reason = "rustix locks whole files only")]

use crate::error::{Result, last};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `F_WRLCK` and `SEEK_SET`, which the libc crate has as `int` and `struct flock` as `short`.
const WRITE: libc::c_short = 1;
const FROM_START: libc::c_short = 0;

/// Locks one byte of a file for this open file description, without waiting. `false`: another one has it.
///
/// The byte need not exist. The lock belongs to the description: processes that inherit the descriptor share it, and it
/// is gone when the last copy is closed.
///
/// # Errors
/// The file is not open for writing, or the file system has no locks.
pub fn lock_byte(file: BorrowedFd<'_>, offset: u32) -> Result<bool> {
    // SAFETY: a structure of plain numbers, for which all zeroes are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (WRITE, FROM_START);
    lock.l_start = libc::off_t::from(offset);
    lock.l_len = 1;
    // SAFETY: the descriptor is open, and the kernel reads one `flock` from a pointer that is valid for the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    let error = last("fcntl", format!("F_OFD_SETLK, byte {offset}"));
    match error.errno {
        Errno::AGAIN | Errno::ACCESS => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_byte_belongs_to_one_description_until_it_is_closed() {
        let path = std::env::temp_dir().join(format!("repot-lock-{}", std::process::id()));
        let open = || {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap()
        };
        let (first, second) = (open(), open());
        let copy = first.try_clone().unwrap();
        assert!(lock_byte(first.as_fd(), 7).unwrap());
        assert!(!lock_byte(second.as_fd(), 7).unwrap());
        assert!(lock_byte(second.as_fd(), 8).unwrap());
        drop(first);
        assert!(!lock_byte(second.as_fd(), 7).unwrap());
        drop(copy);
        assert!(lock_byte(second.as_fd(), 7).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
