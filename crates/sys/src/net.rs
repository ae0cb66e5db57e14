//! The loopback device of a new network namespace.
#![allow(unsafe_code, reason = "SIOCSIFFLAGS has no safe wrapper")]

use crate::error::{Error, Result, last};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::AsRawFd;

/// Switches `lo` on in the current network namespace (netdevice(7), `SIOCGIFFLAGS`, `SIOCSIFFLAGS`).
/// The kernel then gives it 127.0.0.1 and ::1 by itself.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the namespace.
pub fn loopback_up() -> Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error {
        call: "socket",
        args: "AF_INET, SOCK_DGRAM".into(),
        errno,
    })?;
    // SAFETY: ifreq is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from).unwrap_or(0);
    }
    // SAFETY: the request is a valid ifreq with a NUL-terminated name, as the ioctl demands.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(last("ioctl", "SIOCGIFFLAGS, lo"));
    }
    let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | up;
    // SAFETY: as for SIOCGIFFLAGS.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(last("ioctl", "SIOCSIFFLAGS, lo, IFF_UP"));
    }
    Ok(())
}
