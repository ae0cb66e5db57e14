//! What clients and supervisor tell each other: one message per packet of a SOCK_SEQPACKET socket, a tag byte first.

use crate::error::{At, Error, Result};
use repot_model::{Ready, Status};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::termios::Winsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Bytes in one packet at the most; a packet is far below the socket's buffer.
pub(crate) const PACKET: usize = 16 * 1024;

/// From a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// Show me the console from now on, after what is on it.
    Attach,
    /// Keys for the console.
    Input(Vec<u8>),
    /// The size of the user's terminal.
    Size(Winsize),
    /// Tell me when the machine is ready.
    AwaitReady,
    /// I am about to ask the init to power off (`false`) or reboot (`true`); end or restart whatever it makes of that.
    Stopping { reboot: bool },
}

/// From the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Console output.
    Output(Vec<u8>),
    /// PID 1 runs. Sent to the command that started the machine.
    Started,
    /// The machine is ready.
    Ready(Ready),
    /// It restarts.
    Rebooting,
    /// It has ended.
    Ended(Status),
    /// It could not be started: why, for people.
    Failed(String),
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Attach => vec![b'A'],
            Self::Input(bytes) => [b"I", bytes.as_slice()].concat(),
            Self::Size(size) => [
                b"W".as_slice(),
                &size.ws_row.to_le_bytes(),
                &size.ws_col.to_le_bytes(),
            ]
            .concat(),
            Self::AwaitReady => vec![b'R'],
            Self::Stopping { reboot } => vec![b'S', u8::from(*reboot)],
        }
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, rest) = packet.split_first()?;
        match tag {
            b'A' => Some(Self::Attach),
            b'I' => Some(Self::Input(rest.to_vec())),
            b'W' => {
                let number =
                    |at: usize| Some(u16::from_le_bytes(rest.get(at..at + 2)?.try_into().ok()?));
                Some(Self::Size(Winsize {
                    ws_row: number(0)?,
                    ws_col: number(2)?,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                }))
            }
            b'R' => Some(Self::AwaitReady),
            b'S' => Some(Self::Stopping {
                reboot: *rest.first()? == 1,
            }),
            _ => None,
        }
    }
}

impl Event {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = |tag: u8, value: serde_json::Result<Vec<u8>>| {
            [&[tag], value.unwrap_or_default().as_slice()].concat()
        };
        match self {
            Self::Output(bytes) => [b"O", bytes.as_slice()].concat(),
            Self::Started => vec![b's'],
            Self::Ready(ready) => json(b'r', serde_json::to_vec(ready)),
            Self::Rebooting => vec![b'b'],
            Self::Ended(status) => json(b'e', serde_json::to_vec(status)),
            Self::Failed(why) => [b"f", why.as_bytes()].concat(),
        }
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, rest) = packet.split_first()?;
        match tag {
            b'O' => Some(Self::Output(rest.to_vec())),
            b's' => Some(Self::Started),
            b'r' => serde_json::from_slice(rest).ok().map(Self::Ready),
            b'b' => Some(Self::Rebooting),
            b'e' => serde_json::from_slice(rest).ok().map(Self::Ended),
            b'f' => Some(Self::Failed(String::from_utf8_lossy(rest).into_owned())),
            _ => None,
        }
    }
}

/// Sends a packet without waiting. A reader that does not keep up loses packets instead of stopping the machine.
pub(crate) fn post(socket: impl AsFd, packet: &[u8]) -> std::result::Result<(), Errno> {
    offer(socket, packet).map(drop)
}

/// Sends a packet if the reader keeps up; else `false`.
pub(crate) fn offer(socket: impl AsFd, packet: &[u8]) -> std::result::Result<bool, Errno> {
    match rustix::net::send(socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The address of a socket in a directory, by descriptor: paths of sockets are limited to 107 bytes (unix(7)).
fn address(dir: &OwnedFd, name: &str) -> std::result::Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn open_dir(dir: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("opening", dir)
}

/// A socket of that type, bound to a name in a directory, for owner only or (`world`) for everybody.
pub(crate) fn bound(dir: &Path, name: &str, socket_type: SocketType, mode: u32) -> Result<OwnedFd> {
    use std::os::unix::fs::PermissionsExt;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let path = dir.join(name);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, socket_type, flags, None)
        .at("making socket", &path)?;
    let handle = open_dir(dir)?;
    address(&handle, name)
        .and_then(|address| rustix::net::bind(&socket, &address))
        .at("binding socket", &path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        .at("setting the mode of", &path)?;
    Ok(socket)
}

/// Connects to the supervisor whose run-time directory this is.
pub(crate) fn connect(dir: &Path) -> Result<OwnedFd> {
    let path = dir.join(CONTROL);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .at("making socket", &path)?;
    let handle = open_dir(dir)?;
    match address(&handle, CONTROL).and_then(|address| rustix::net::connect(&socket, &address)) {
        // The name is there for a moment longer, or gone already.
        Err(Errno::CONNREFUSED | Errno::NOENT) => Err(Error::SupervisorGone),
        result => result.at("connecting to", &path).map(|()| socket),
    }
}

/// Name of the supervisor's socket in the machine's run-time directory.
pub(crate) const CONTROL: &str = "control";
/// Name of the socket for `READY=1`.
pub(crate) const NOTIFY: &str = "notify";

/// One datagram from a socket with SO_PASSCRED, and the sender's PID as this process numbers it. `None`: nothing is there.
pub(crate) fn receive_with_pid(socket: &OwnedFd, bytes: &mut [u8]) -> Option<(usize, i32)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space =
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(
        socket,
        &mut [std::io::IoSliceMut::new(bytes)],
        &mut control,
        flags,
    )
    .ok()?;
    let mut pid = 0;
    // Descriptors that somebody in the machine sends along are closed by being dropped here.
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmCredentials(sender) = message {
            pid = sender.pid.as_raw_nonzero().get();
        }
    }
    Some((message.bytes, pid))
}

/// Two connected sockets that keep messages apart.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .at("making", "a socket pair")
}

/// Waits for the next event. `None`: the supervisor has gone.
pub(crate) fn next_event(socket: &OwnedFd) -> Result<Option<Event>> {
    let mut packet = vec![0u8; PACKET + 1];
    let (length, _) = loop {
        match rustix::net::recv(
            socket,
            packet.as_mut_slice(),
            rustix::net::RecvFlags::empty(),
        ) {
            // Said once, before what it sent last, by a supervisor that went without reading all (net/unix/af_unix.c,
            // `unix_release_sock`).
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other.at("reading from", "the supervisor")?,
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Event::decode(&packet[..length]).map(Some).ok_or_else(|| {
        Error::Supervisor(
            "the supervisor speaks another language: another version of repot?".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        post(&ours, &Request::Attach.encode()).unwrap();
        post(&theirs, &Event::Rebooting.encode()).unwrap();
        drop(theirs);
        assert_eq!(next_event(&ours).unwrap(), Some(Event::Rebooting));
        assert_eq!(next_event(&ours).unwrap(), None);
    }

    #[test]
    fn messages_travel() {
        let size = Winsize {
            ws_row: 24,
            ws_col: 300,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        for request in [
            Request::Attach,
            Request::Input(b"ls\r".to_vec()),
            Request::Size(size),
            Request::AwaitReady,
            Request::Stopping { reboot: true },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let ready = Ready {
            how: "READY=1".into(),
            after_ms: 12,
        };
        for event in [
            Event::Output(vec![0, 255]),
            Event::Started,
            Event::Ready(ready),
            Event::Rebooting,
            Event::Ended(Status::Exited(3)),
            Event::Failed("no".into()),
        ] {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        for garbage in [&b""[..], b"W1", b"S", b"r{", b"?"] {
            assert_eq!(Request::decode(garbage), None);
            assert_eq!(Event::decode(garbage), None);
        }
    }
}
