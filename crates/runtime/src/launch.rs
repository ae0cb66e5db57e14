//! The parent's side of a start: makes the child in its namespaces and cgroup, maps its IDs, hands it the prepared mounts,
//! and learns whether PID 1 runs.

use crate::cgroup::{Entrances, MachineCgroups};
use crate::device;
use crate::error::{At, Error, Result};
use crate::file_server::{self, FileServer, Refusal};
use crate::idmap::{self, MountKind};
use crate::nesting;
use crate::stdio::Stdio;
use crate::step::{self, Context, Report, RootBy, Step};
use repot_model::{BootSpec, IdMap, Network, Overlay, Pid1};
use repot_sys::{Cloned, Namespaces, clone_owned_by, clone_process, clone_process_into};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::WaitStatus;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

mod prepared;

pub(crate) use prepared::Prepared;
use prepared::Served;

/// A machine whose PID 1 has just started.
#[derive(Debug)]
pub(crate) struct Launched {
    /// PID 1, as the host numbers it.
    pub(crate) pid: i32,
    /// The same as a descriptor.
    pub(crate) pidfd: OwnedFd,
    /// The masters of the spec's terminals, in its order.
    pub(crate) terminals: Vec<OwnedFd>,
    /// Optional steps that failed.
    pub(crate) warnings: Vec<String>,
    /// What serves the machine's files, if not the kernel.
    pub(crate) server: Option<FileServer>,
}

/// Starts the machine's PID 1: clones, sets up, waits until the program has replaced the child or the stub serves. Whether the
/// kernel has an overlay for a user without root is not known but tried; where it has none, fuse-overlayfs takes its place.
///
/// # Errors
/// The step that failed, or why the child could not be made. Nothing is left behind.
pub(crate) fn launch(
    spec: &BootSpec,
    prepared: &Prepared,
    cgroups: &MachineCgroups,
) -> Result<Launched> {
    let Some(Served { plan, .. }) = &prepared.served else {
        return launch_by(RootBy::Kernel, spec, prepared, cgroups);
    };
    let refusal = match plan.known_refusal(prepared.tmpfs.as_ref()) {
        Some(refusal) => refusal,
        None => match launch_by(RootBy::Kernel, spec, prepared, cgroups) {
            Err(Error::Step { index, errno, .. }) if prepared.refuses_overlay(index, errno) => {
                Refusal::Kernel(errno)
            }
            other => return other,
        },
    };
    match (file_server::missing(), &refusal) {
        (None, _) => {}
        // What most machines never notice is no reason not to start.
        (Some(_), Refusal::NoAttributes) => {
            return launch_by(RootBy::Kernel, spec, prepared, cgroups);
        }
        (Some(missing), Refusal::Kernel(_) | Refusal::Earlier) => {
            return Err(Error::NoOverlay {
                why: plan.explain(&refusal),
                missing,
            });
        }
    }
    plan.settle(&refusal)?;
    let mut launched = launch_by(RootBy::Fuse, spec, prepared, cgroups)?;
    launched.warnings.push(format!(
        "the kernel's overlay: {}. fuse-overlayfs serves the files, which is slower",
        plan.explain(&refusal)
    ));
    Ok(launched)
}

fn launch_by(
    root_by: RootBy,
    spec: &BootSpec,
    prepared: &Prepared,
    cgroups: &MachineCgroups,
) -> Result<Launched> {
    match try_launch(root_by, spec, prepared, cgroups) {
        // In a machine: `/proc` may not be mounted below one that is covered. Looked at only then, since it takes time.
        Err(Error::Step {
            errno: Errno::PERM,
            index,
            step,
        }) => match nesting::uncover_proc() {
            Ok(true) => try_launch(root_by, spec, prepared, cgroups),
            Ok(false) | Err(_) => Err(Error::Step {
                errno: Errno::PERM,
                index,
                step,
            }),
        },
        other => other,
    }
}

fn try_launch(
    root_by: RootBy,
    spec: &BootSpec,
    prepared: &Prepared,
    cgroups: &MachineCgroups,
) -> Result<Launched> {
    let (ours, theirs) = crate::protocol::socket_pair()?;
    let mut namespaces = Namespaces::PID | Namespaces::MOUNT | Namespaces::UTS | Namespaces::IPC;
    if spec.network == Network::None {
        namespaces = namespaces | Namespaces::NET;
    }
    if !matches!(spec.idmap, IdMap::Host { .. }) {
        namespaces = namespaces | Namespaces::USER;
    }
    let entrances = cgroups.entrances()?;
    let (cloned, is_born_inside) = clone_for(&spec.idmap, namespaces, &entrances)?;
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            drop(ours);
            let steps = prepared.steps(root_by);
            child(
                spec.pid1,
                prepared,
                steps,
                theirs,
                (entrances, is_born_inside),
            );
            repot_sys::exit_now(1);
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((theirs, entrances));
    let mut child = ChildGuard { pid, armed: true };
    set_up(spec, prepared, pid, &ours)?;
    let said = follow(&ours, prepared, root_by, spec, &mut child)?;
    let mut warnings = said.warnings;
    warnings.extend_from_slice(&cgroups.warnings);
    child.armed = false;
    Ok(Launched {
        pid,
        pidfd,
        terminals: said.terminals,
        warnings,
        server: said.server,
    })
}

/// Makes the child. Its user namespace belongs to the first of its own users, so that machines share none of the limits per
/// user; where that cannot be, to root.
fn clone_for(
    idmap: &IdMap,
    namespaces: Namespaces,
    entrances: &Entrances,
) -> Result<(Cloned, bool)> {
    if let IdMap::Shifted { base, .. } = idmap {
        let mut is_born_inside = false;
        let cloned = clone_owned_by(*base, || {
            let (cloned, is_inside) = clone_in(namespaces, entrances)?;
            is_born_inside = is_inside;
            Ok(cloned)
        });
        if let Ok(cloned) = cloned {
            return Ok((cloned, is_born_inside));
        }
    }
    Ok(clone_in(namespaces, entrances)?)
}

/// Makes the child, in its cgroup where the kernel can do that. `true`: it could.
fn clone_in(namespaces: Namespaces, entrances: &Entrances) -> repot_sys::Result<(Cloned, bool)> {
    if let Some(dir) = &entrances.birthplace
        && let Ok(cloned) = clone_process_into(namespaces, dir.as_fd())
    {
        return Ok((cloned, true));
    }
    // Without clone3, or with a filter that refuses it. Any other reason comes back here.
    Ok((clone_process(namespaces)?, false))
}

fn raw_pid(pid: i32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid).unwrap_or(rustix::process::Pid::INIT)
}

/// Kills and reaps a child that did not become PID 1.
struct ChildGuard {
    pid: i32,
    armed: bool,
}

impl ChildGuard {
    /// Waits for the child's end; its status in words.
    fn reap(&mut self) -> String {
        self.armed = false;
        match rustix::process::waitpid(
            Some(raw_pid(self.pid)),
            rustix::process::WaitOptions::empty(),
        ) {
            Ok(Some((_, status))) => in_words(status),
            _ => "unknown".into(),
        }
    }
}

/// How a process ended.
pub(crate) fn in_words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "stopped".into(),
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        if self.armed {
            let _ = rustix::process::kill_process(raw_pid(self.pid), rustix::process::Signal::KILL);
            self.reap();
        }
    }
}

/// What only the parent may do: ID maps (user_namespaces(7)), ID-mapped copies of mounts.
fn set_up(spec: &BootSpec, prepared: &Prepared, pid: i32, socket: &OwnedFd) -> Result<()> {
    let userns = match idmap::write_maps(pid, &spec.idmap)? {
        true => Some(idmap::user_namespace_of(pid)?),
        false => None,
    };
    let map_with = userns
        .as_ref()
        .filter(|_| matches!(spec.idmap, IdMap::Shifted { .. }))
        .map(AsFd::as_fd);
    let mounts = mounts(spec, prepared, map_with)?;
    let mut present = Vec::with_capacity(mounts.len());
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    for mount in &mounts {
        present.push(u8::from(mount.is_some()));
        fds.extend(mount.as_ref().map(AsFd::as_fd));
    }
    if fds.len() > MAX_HANDED {
        return Err(Error::Invalid {
            what: "bind mounts".into(),
            why: format!("there may be {MAX_HANDED} layers, binds and devices in all"),
        });
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&present)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .at("handing mounts to", "the machine")?;
    Ok(())
}

/// Descriptors in one message: the kernel's SCM_MAX_FD is 253.
const MAX_HANDED: usize = 120;

/// Detached mounts for the base, the layers, the place for writes, the binds, the devices. `None`: the child binds by path.
fn mounts(
    spec: &BootSpec,
    prepared: &Prepared,
    map_with: Option<BorrowedFd<'_>>,
) -> Result<Vec<Option<OwnedFd>>> {
    let mut mounts = Vec::new();
    let in_place = spec.root.overlay == Overlay::InPlace;
    // A user namespace without mapped mounts is no fallback: everything would belong to nobody. Without one, an old kernel's
    // missing open_tree(2) is: then the child binds.
    let or_bind = |result: Result<OwnedFd>| match result {
        Ok(mount) => Ok(Some(mount)),
        Err(error) if map_with.is_some() => Err(error),
        Err(_) => Ok(None),
    };
    let layer = |path: &Path, read_only| {
        or_bind(idmap::detached_mount(
            path,
            map_with,
            read_only,
            MountKind::Layer,
        ))
    };
    mounts.push(layer(&spec.root.base, !in_place)?);
    if !in_place {
        for path in &spec.root.layers {
            mounts.push(layer(path, true)?);
        }
        mounts.push(match &spec.root.overlay {
            Overlay::Kept { dir } => layer(dir, false)?,
            Overlay::Ephemeral | Overlay::InPlace => match &prepared.tmpfs {
                // A tmpfs that cannot be mapped (before Linux 6.3) is of no use either: the child makes its own.
                Some(tmpfs) => idmap::copy_of(tmpfs.as_fd(), map_with).ok(),
                None => None,
            },
        });
    }
    for bind in &spec.binds {
        mounts.push(or_bind(idmap::detached_mount(
            &bind.host_path,
            map_with,
            bind.read_only,
            MountKind::Bind,
        ))?);
    }
    for device in &spec.devices {
        let node = device::detached_node(device, &spec.idmap);
        mounts.push(match device.writable {
            true => or_bind(node)?,
            // The host's own node could be written.
            false => Some(node?),
        });
    }
    if step::shares_sys(spec) {
        mounts.push(or_bind(idmap::detached_mount(
            Path::new("/sys"),
            None,
            true,
            MountKind::Bind,
        ))?);
    }
    Ok(mounts)
}

/// What the child has reported.
#[derive(Default)]
struct Said {
    terminals: Vec<OwnedFd>,
    warnings: Vec<String>,
    server: Option<FileServer>,
}

/// Reads the child's reports until it has become PID 1's program or failed.
fn follow(
    socket: &OwnedFd,
    prepared: &Prepared,
    root_by: RootBy,
    spec: &BootSpec,
    child: &mut ChildGuard,
) -> Result<Said> {
    let mut said = Said::default();
    let named = |step: usize| {
        prepared
            .steps(root_by)
            .get(step)
            .map_or_else(|| "handing over".to_owned(), ToString::to_string)
    };
    loop {
        let mut bytes = [0u8; 16];
        let (length, mut fds) = receive(socket, &mut bytes)?;
        if length == 0 {
            break;
        }
        match Report::decode(&bytes[..length]) {
            Some(Report::Terminal) => said.terminals.append(&mut fds),
            Some(Report::Served) => {
                let plan = prepared.served.as_ref().map(|served| &served.plan);
                if let Some((plan, device)) = plan.zip(fds.pop()) {
                    said.server = Some(plan.start(prepared.tmpfs.as_ref(), device)?);
                }
            }
            Some(Report::Warning { step, errno }) => said.warnings.push(format!(
                "{}: {}",
                named(step),
                Errno::from_raw_os_error(errno)
            )),
            Some(Report::Failed { step, errno }) => {
                child.reap();
                // What fuse(4) answers when nobody serves any more.
                let is_unserved = [Errno::NOTCONN, Errno::CONNABORTED]
                    .map(Errno::raw_os_error)
                    .contains(&errno);
                if let (Some(server), true) = (&mut said.server, is_unserved) {
                    return Err(server.end());
                }
                return Err(Error::Step {
                    index: step,
                    step: named(step),
                    errno: Errno::from_raw_os_error(errno),
                });
            }
            Some(Report::NoExec { errno }) => {
                child.reap();
                return Err(Error::Exec {
                    program: spec.argv.first().cloned().unwrap_or_default(),
                    errno: Errno::from_raw_os_error(errno),
                });
            }
            None => {
                return Err(Error::ChildDied {
                    status: "it sent nonsense".into(),
                });
            }
        }
    }
    if said.terminals.len() != spec.terminals.len() {
        return Err(Error::ChildDied {
            status: child.reap(),
        });
    }
    Ok(said)
}

/// One datagram and the descriptors that came with it.
pub(crate) fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })
    .at("reading from", "the machine's first process")?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((message.bytes, fds))
}

/// The child: waits for the parent's part, runs the steps, becomes PID 1's program. Returns only on failure.
fn child(
    pid1: Pid1,
    prepared: &Prepared,
    steps: &[Step],
    socket: OwnedFd,
    cgroups: (Entrances, bool),
) {
    if repot_sys::cloexec_from(3).is_err() {
        return;
    }
    let mut present = [0u8; MAX_HANDED];
    let Ok((length, fds)) = receive(&socket, &mut present) else {
        return;
    };
    if length == 0 {
        return;
    }
    let mut fds = fds.into_iter();
    let handed = present[..length]
        .iter()
        .map(|is_there| if *is_there == 1 { fds.next() } else { None })
        .collect();
    let mut context = Context {
        handed,
        held: Vec::new(),
        cgroups: Some(cgroups),
        socket,
    };
    if context.run(steps).is_err() {
        return;
    }
    context.handed.clear();
    if let Some(Err(errno)) = prepared.stdio.as_ref().map(Stdio::install) {
        context.report(Report::NoExec {
            errno: errno.raw_os_error(),
        });
        return;
    }
    let errno = match rustix::process::chdir(&prepared.cwd) {
        Err(errno) => errno,
        Ok(()) => match pid1 {
            Pid1::Program => start_program(prepared),
            Pid1::Stub => crate::stub::run(&prepared.argv, &prepared.env, &context),
        },
    };
    context.report(Report::NoExec {
        errno: errno.raw_os_error(),
    });
}

fn start_program(prepared: &Prepared) -> Errno {
    repot_sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    crate::stub::exec_in_path(&prepared.argv, &prepared.env)
}
