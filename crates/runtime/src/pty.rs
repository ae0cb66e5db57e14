//! Terminals of a running machine, for who joins it: made in its own devpts, under names that it lets root in on.

use crate::step::Report;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::ffi::CStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// A pty from the machine's devpts as it is now: the init may have mounted another over the one that it was started with.
/// Its master goes to the caller.
pub(crate) fn new_pty(socket: &OwnedFd, tty: Option<&CStr>) -> std::result::Result<OwnedFd, Errno> {
    let master = open_terminal(c"/dev/pts/ptmx").or_else(|_| open_terminal(c"/dev/ptmx"))?;
    rustix::pty::unlockpt(&master)?;
    let pts = rustix::pty::ptsname(&master, Vec::new())?;
    // Opened by the name that the login program is to see: it asks the kernel how its standard input was opened.
    let slave = match tty.map(|tty| name_terminal(&pts, tty).and_then(|()| open_terminal(tty))) {
        Some(Ok(slave)) => slave,
        None | Some(Err(_)) => open_terminal(&pts)?,
    };
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&Report::Terminal.encode())],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(slave)
}

/// Gives a pty a second name. A terminal of that name is covered for the time.
fn name_terminal(pts: &CStr, tty: &CStr) -> std::result::Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(tty, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    rustix::mount::mount_bind(pts, tty)
}

/// Opens a device of the machine that claims to be a terminal; anything else is not waited for (NONBLOCK) and refused.
pub(crate) fn open_terminal(path: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::CharacterDevice {
        return Err(Errno::NOTTY);
    }
    rustix::io::ioctl_fionbio(&file, false)?;
    Ok(file)
}
