//! The commands that are connected to a supervisor: what they ask, what they are told.

use super::Supervisor;
use crate::protocol::{self, Event, PACKET, Request};
use repot_model::MachineState;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// A command that is connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) is_attached: bool,
    /// It has started the machine, and PID 1 does not run yet.
    pub(super) awaits_start: bool,
    pub(super) awaits_ready: bool,
    /// It has sent keys.
    pub(super) has_typed: bool,
    /// It has announced a stop or a reboot.
    pub(super) has_announced: bool,
}

impl Client {
    /// For poll(2). While the console takes no keys (`is_full`), those of this client wait with it; that it has gone is noticed
    /// all the same.
    pub(super) fn poll(&self, is_full: bool) -> PollFd<'_> {
        let events = match self.has_typed && is_full {
            true => PollFlags::empty(),
            false => PollFlags::IN,
        };
        PollFd::from_borrowed_fd(self.socket.as_fd(), events)
    }
}

impl Supervisor<'_> {
    pub(super) fn broadcast(&mut self, event: &Event, to: impl Fn(&Client) -> bool) {
        let packet = event.encode();
        for client in self.clients.iter().filter(|client| to(client)) {
            // One that has gone is noticed by poll.
            let _ = protocol::post(&client.socket, &packet);
        }
    }

    pub(super) fn accept(&mut self) {
        use rustix::net::SocketFlags;
        while let Ok(socket) =
            rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            self.clients.push(Client {
                socket,
                is_attached: false,
                awaits_start: false,
                awaits_ready: false,
                has_typed: false,
                has_announced: false,
            });
        }
    }

    /// One packet of a client. `false`: it has gone.
    pub(super) fn serve_client(&mut self, number: usize) -> bool {
        let mut packet = [0u8; PACKET];
        let client = &mut self.clients[number];
        let length = match rustix::net::recv(
            &client.socket,
            &mut packet,
            rustix::net::RecvFlags::DONTWAIT,
        ) {
            Ok((0, _)) => return false,
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        match Request::decode(&packet[..length]) {
            Some(Request::Attach) => client.is_attached = true,
            Some(Request::Input(bytes)) => {
                client.has_typed = true;
                if let Some(console) = self.consoles.first_mut() {
                    console.write(&bytes);
                }
            }
            Some(Request::Size(size)) => {
                self.size = Some(size);
                for console in &self.consoles {
                    let _ = rustix::termios::tcsetwinsize(&console.master, size);
                }
            }
            Some(Request::AwaitReady) => match &self.state.ready {
                Some(ready) if self.readiness.is_ready() => {
                    let packet = Event::Ready(ready.clone()).encode();
                    return protocol::post(&client.socket, &packet).is_ok();
                }
                _ => client.awaits_ready = true,
            },
            Some(Request::Stopping { reboot }) => {
                client.has_announced = true;
                self.intent = Some(reboot);
                self.state.state = MachineState::Stopping;
                self.write_state();
                self.watch_stop();
            }
            None => return false,
        }
        true
    }

    /// A command has gone. If it had announced what then did not happen, that is no longer expected.
    pub(super) fn withdraw(&mut self, client: &Client) {
        if client.has_announced && self.intent.take().is_some() {
            self.state.state = match self.state.ready {
                Some(_) => MachineState::Running,
                None => MachineState::Starting,
            };
            self.write_state();
        }
    }
}
