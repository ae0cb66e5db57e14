//! The child's side: runs the steps in order, reports the first one that fails.
//!
//! This is the only code between clone and exec. It runs in a process with a single thread and copies of the parent's
//! memory; it reports over a socket and never logs.

use super::{Held, Mount, Step, bind, guest};
use crate::cgroup::Entrances;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::thread::CapabilitySet;
use std::ffi::{CStr, CString};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// fuse(4).
const FUSE: &CStr = c"/dev/fuse";

/// What the child tells the parent, one datagram each. The socket is close-on-exec: end of file means that PID 1 runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// A pty master is attached to this message.
    Terminal,
    /// The device of a FUSE file system that waits to be served is attached to this message.
    Served,
    /// An optional step failed.
    Warning { step: usize, errno: i32 },
    /// A step failed; the child ends.
    Failed { step: usize, errno: i32 },
    /// The program could not be executed; the child ends.
    NoExec { errno: i32 },
}

impl Report {
    /// Bytes for the socket: a tag, the step's number, the errno.
    pub(crate) fn encode(self) -> [u8; 9] {
        let (tag, step, errno) = match self {
            Self::Terminal => (b'T', 0, 0),
            Self::Served => (b'S', 0, 0),
            Self::Warning { step, errno } => (b'W', step, errno),
            Self::Failed { step, errno } => (b'F', step, errno),
            Self::NoExec { errno } => (b'X', 0, errno),
        };
        let mut bytes = [tag; 9];
        bytes[1..5].copy_from_slice(&u32::try_from(step).unwrap_or(u32::MAX).to_le_bytes());
        bytes[5..].copy_from_slice(&errno.to_le_bytes());
        bytes
    }

    /// The reverse; `None` for anything else than nine bytes with a known tag.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let step = usize::try_from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let errno = i32::from_le_bytes(rest.get(4..8)?.try_into().ok()?);
        match tag {
            b'T' => Some(Self::Terminal),
            b'S' => Some(Self::Served),
            b'W' => Some(Self::Warning { step, errno }),
            b'F' => Some(Self::Failed { step, errno }),
            b'X' => Some(Self::NoExec { errno }),
            _ => None,
        }
    }
}

/// What the steps share.
#[derive(Debug)]
pub(crate) struct Context {
    /// Detached mounts from the parent; `None` where the child binds the path itself.
    pub(crate) handed: Vec<Option<OwnedFd>>,
    /// Paths of the host.
    pub(crate) held: Vec<Option<OwnedFd>>,
    /// The ways into the machine's cgroups, and whether this process was made in the cgroup2 one.
    pub(crate) cgroups: Option<(Entrances, bool)>,
    /// Where reports go.
    pub(crate) socket: OwnedFd,
}

impl Context {
    /// Runs all steps. Stops at the first failure and reports it.
    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<(), ()> {
        for (number, step) in steps.iter().enumerate() {
            match self.step(step) {
                Ok(()) => {}
                Err(errno) if step.is_optional() => self.report(Report::Warning {
                    step: number,
                    errno: errno.raw_os_error(),
                }),
                Err(errno) => {
                    self.report(Report::Failed {
                        step: number,
                        errno: errno.raw_os_error(),
                    });
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// Sends a report. A parent that is gone has killed us already, so a failure needs no handling.
    pub(crate) fn report(&self, report: Report) {
        let _ = rustix::net::send(&self.socket, &report.encode(), SendFlags::NOSIGNAL);
    }

    fn step(&mut self, step: &Step) -> Result<(), Errno> {
        match step {
            Step::BecomeRoot => become_root(),
            Step::DieWithParent => rustix::process::set_parent_process_death_signal(Some(
                rustix::process::Signal::KILL,
            )),
            Step::EnterCgroups => match self.cgroups.take() {
                Some((entrances, is_born_inside)) => entrances.enter(is_born_inside),
                None => Ok(()),
            },
            Step::NewCgroupNamespace => {
                repot_sys::unshare(repot_sys::Namespaces::CGROUP).map_err(|error| error.errno)
            }
            Step::PrivateMounts => rustix::mount::mount_change(
                c"/",
                MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
            ),
            Step::Hold { held, path } => self.hold(*held, path),
            Step::Enter { path } => rustix::process::chdir(path),
            Step::Attach {
                handed,
                instead,
                at,
            } => match self.handed.get(handed.0).and_then(Option::as_ref) {
                Some(mount) => rustix::mount::move_mount(
                    mount,
                    c"",
                    CWD,
                    at,
                    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
                ),
                None => match instead {
                    Some(instead) => bind::bind(instead, at),
                    None => rustix::mount::mount(
                        c"tmpfs",
                        at,
                        c"tmpfs",
                        MountFlags::empty(),
                        Some(c"mode=755"),
                    ),
                },
            },
            Step::Mount(mount) => mount.run(),
            Step::OpenFuse { held } => {
                self.keep(
                    *held,
                    rustix::fs::open(FUSE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
                );
                Ok(())
            }
            Step::MountServed { held, at } => self.mount_served(*held, at),
            Step::BindHeld { held, at } => {
                let fd = self
                    .held
                    .get(held.0)
                    .and_then(Option::as_ref)
                    .ok_or(Errno::BADF)?;
                rustix::mount::mount_bind(proc_path(fd.as_fd()), at)
            }
            Step::Bind { from, at } | Step::Figures { from, at } => {
                rustix::mount::mount_bind(from, at)
            }
            Step::Rebind {
                at,
                flags,
                optional,
            } => match rebind(at, *flags) {
                Err(Errno::NOENT) if *optional => Ok(()),
                other => other,
            },
            Step::Mask { at, with } => match rustix::mount::mount_bind(with, at) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            },
            Step::Dir { path, mode } => make_dir(path, Mode::from_raw_mode(*mode)),
            Step::File {
                path,
                mode,
                content,
            } => make_file(path, Mode::from_raw_mode(*mode), content),
            Step::Link { to, at } => rustix::fs::symlink(to, at),
            Step::Place { from, to, mode } => {
                let place = guest::directory(to, Mode::from_raw_mode(*mode))?;
                rustix::mount::mount_move(from, proc_path(place.as_fd()))
            }
            Step::GuestDir { path, mode } => {
                guest::directory(path, Mode::from_raw_mode(*mode)).map(drop)
            }
            Step::AttachInside {
                handed,
                instead,
                to,
                is_dir,
            } => {
                let place = match is_dir {
                    true => guest::directory(to, Mode::from_raw_mode(0o755))?,
                    false => guest::file(to)?,
                };
                match self.handed.get(handed.0).and_then(Option::as_ref) {
                    Some(mount) => {
                        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
                            | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
                        rustix::mount::move_mount(mount, c"", &place, c"", flags)
                    }
                    None => {
                        // Aside first: in the tree, its mounts would have names that a hostile tree has a say in.
                        let aside = match is_dir {
                            true => c"bind-dir",
                            false => c"bind-file",
                        };
                        match is_dir {
                            true => make_dir(aside, Mode::from_raw_mode(0o755))?,
                            false => make_file(aside, Mode::from_raw_mode(0o644), b"")?,
                        }
                        bind::bind(instead, aside)?;
                        rustix::mount::mount_move(aside, proc_path(place.as_fd()))
                    }
                }
            }
            Step::PivotRoot { new_root } => self.pivot(new_root),
            Step::Terminal { names } => self.terminal(names),
            Step::Stdio { path } => stdio(path),
            Step::Hostname { name } => rustix::system::sethostname(name.as_bytes()),
            Step::Loopback => repot_sys::loopback_up().map_err(|error| error.errno),
            Step::Keyring => repot_sys::new_session_keyring().map_err(|error| error.errno),
            Step::NewSession => {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            }
            Step::Capabilities { keep } => keep_capabilities(*keep),
            Step::Seccomp { filters } => filters.iter().try_for_each(|filter| {
                repot_sys::install_filter(filter).map_err(|error| error.errno)
            }),
        }
    }

    fn hold(&mut self, held: Held, path: &CStr) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        self.keep(held, rustix::fs::open(path, flags, Mode::empty())?);
        Ok(())
    }

    fn keep(&mut self, held: Held, fd: OwnedFd) {
        if self.held.len() <= held.0 {
            self.held.resize_with(held.0 + 1, || None);
        }
        self.held[held.0] = Some(fd);
    }

    /// The file system belongs to the machine's user namespace, as an overlay would, so that IDs, set-uid programs and file
    /// capabilities mean the same. Whoever is in that namespace may use it (`allow_other`), nobody outside, and the kernel looks at
    /// modes and owners (`default_permissions`).
    fn mount_served(&mut self, held: Held, at: &CStr) -> Result<(), Errno> {
        let device = self.held.get_mut(held.0).and_then(Option::take);
        let device = device.ok_or(Errno::BADF)?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount(
            c"fuse-overlayfs",
            at,
            c"fuse.fuse-overlayfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )?;
        // The last copy in this process: once the server has ended, nothing that waits for it must wait forever.
        self.send(Report::Served, &device)
    }

    /// Sends a report with a descriptor.
    fn send(&self, report: Report, fd: &OwnedFd) -> Result<(), Errno> {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let bytes = report.encode();
        rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked above the new one and is unmounted at once. Nothing
    /// is looked up between the two: `/..` would lead to the old root.
    fn pivot(&mut self, new_root: &CStr) -> Result<(), Errno> {
        self.held.clear();
        rustix::process::chdir(new_root)?;
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")
    }

    fn terminal(&mut self, names: &[CString]) -> Result<(), Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::open(c"dev/pts/ptmx", flags, Mode::empty())?;
        rustix::pty::unlockpt(&master)?;
        // "/dev/pts/N", as the machine will see it; here it is still in the staging directory.
        let slave = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = slave
            .to_bytes()
            .strip_prefix(b"/")
            .and_then(|path| CString::new(path).ok())
            .ok_or(Errno::INVAL)?;
        for name in names {
            let path = joined(c"dev/", name);
            if let Some(last_slash) = name.to_bytes().iter().rposition(|byte| *byte == b'/') {
                let parent = joined(
                    c"dev/",
                    &CString::new(&name.to_bytes()[..last_slash]).unwrap_or_default(),
                );
                make_dir(&parent, Mode::from_raw_mode(0o755))?;
            }
            make_file(&path, Mode::from_raw_mode(0o600), b"")?;
            rustix::mount::mount_bind(&slave, &path)?;
        }
        self.send(Report::Terminal, &master)
    }
}

impl Step {
    fn is_optional(&self) -> bool {
        matches!(
            self,
            Self::Mount(Mount { optional: true, .. })
                | Self::Keyring
                | Self::Loopback
                | Self::Mask { .. }
                | Self::Figures { .. }
                | Self::Rebind { optional: true, .. }
        )
    }
}

impl Mount {
    fn run(&self) -> Result<(), Errno> {
        let options = (!self.options.is_empty()).then_some(self.options.as_c_str());
        rustix::mount::mount(&self.fs_type, &self.at, &self.fs_type, self.flags, options)
    }
}

fn become_root() -> Result<(), Errno> {
    // Refused where the parent may not map groups (user_namespaces(7), "setgroups"); then there are none to drop.
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// A bind mount takes its flags only on a second, remounting call (mount(2), "Remounting an existing mount").
fn rebind(at: &CStr, flags: MountFlags) -> Result<(), Errno> {
    rustix::mount::mount_bind(at, at)?;
    rustix::mount::mount_remount(at, MountFlags::BIND | flags, c"")
}

/// Creates a directory and its parents. What is there already is left alone, also a symlink to a directory.
fn make_dir(path: &CStr, mode: Mode) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, mode) {
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let bytes = path.to_bytes();
            let parent_length = bytes
                .iter()
                .rposition(|byte| *byte == b'/')
                .filter(|length| *length > 0)
                .ok_or(Errno::NOENT)?;
            make_dir(
                &CString::new(&bytes[..parent_length]).map_err(|_| Errno::INVAL)?,
                Mode::from_raw_mode(0o755),
            )?;
            rustix::fs::mkdir(path, mode)
        }
        other => other,
    }
}

fn make_file(path: &CStr, mode: Mode, content: &[u8]) -> Result<(), Errno> {
    let truncate = if content.is_empty() {
        OFlags::empty()
    } else {
        OFlags::TRUNC
    };
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | truncate
        | OFlags::CLOEXEC
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, mode)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::EXIST);
    }
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    Ok(())
}

fn stdio(path: &CStr) -> Result<(), Errno> {
    let terminal = rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)
}

pub(crate) fn keep_capabilities(keep: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..64u32 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    let has = rustix::thread::capabilities(None)?.permitted;
    let sets = rustix::thread::CapabilitySets {
        effective: has & keep,
        permitted: has & keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
}

fn joined(prefix: &CStr, rest: &CStr) -> CString {
    CString::new([prefix.to_bytes(), rest.to_bytes()].concat()).unwrap_or_default()
}

/// A name for an open descriptor that mount(2) accepts (proc(5), `/proc/pid/fd/`).
fn proc_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_travel() {
        for report in [
            Report::Terminal,
            Report::Served,
            Report::Warning { step: 3, errno: 22 },
            Report::Failed {
                step: 70000,
                errno: -1,
            },
            Report::NoExec { errno: 2 },
        ] {
            let decoded = Report::decode(&report.encode()).unwrap();
            assert_eq!(decoded, report);
        }
        assert_eq!(Report::decode(b""), None);
        assert_eq!(Report::decode(b"T1"), None);
        assert_eq!(Report::decode(&[b'?'; 9]), None);
    }
}
