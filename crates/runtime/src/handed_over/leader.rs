//! Looks for the PID 1 of a machine that somebody else has started, and at what is left of one that stops.

use repot_model::CommandLine;
use repot_sys::{Cloned, Namespaces, clone_process};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

/// Descendants that are looked at: an engine has a handful, a machine may have any number.
const MAX_SEEN: usize = 256;

/// The nearest descendant of a process that is PID 1 of a PID namespace below ours, and has become its init: until then it
/// still runs the program that made it.
pub(crate) fn nearest_leader(program: i32) -> Option<i32> {
    let engine = program_of(program)?;
    let mut queue = std::collections::VecDeque::from([program]);
    for _ in 0..MAX_SEEN {
        let pid = queue.pop_front()?;
        if is_leader(pid) {
            return (program_of(pid)? != engine).then_some(pid);
        }
        queue.extend(children(pid));
    }
    None
}

/// Device and inode of what a process executes.
fn program_of(pid: i32) -> Option<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Whether a process is number 1 of its PID namespace and another number in ours (proc_pid_status(5), `NSpid`).
fn is_leader(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(is_first)
}

fn is_first(numbers: &str) -> bool {
    let mut numbers = numbers.split_whitespace().rev();
    numbers.next() == Some("1") && numbers.next().is_some()
}

/// Children of all threads of a process (proc_tid_children(5)).
fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

/// Whether PID 1 has nobody left but itself: everything in a PID namespace descends from its PID 1. What is only waiting to be
/// reaped does not count.
pub(crate) fn is_alone(leader: i32) -> bool {
    children(leader)
        .into_iter()
        .all(|child| crate::registry::start_time(child).is_none())
}

/// Whether a session of the machine, other than that of its PID 1, has the machine's console as its controlling terminal. An
/// init that opened the console carelessly, or was given it, has it too, but does not serve it.
pub(crate) fn serves_console(leader: i32) -> bool {
    let Some(console) = console_of(leader) else {
        return false;
    };
    let stat = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let own = session(&stat(leader));
    let mut queue = children(leader);
    for _ in 0..MAX_SEEN {
        let Some(pid) = queue.pop() else { return false };
        let stat = stat(pid);
        if controlling_terminal(&stat) == Some(console) && session(&stat) != own {
            return true;
        }
        queue.extend(children(pid));
    }
    false
}

/// The device that the machine calls its console.
fn console_of(leader: i32) -> Option<u64> {
    let console = open_console(leader).ok()?;
    Some(rustix::fs::fstat(console).ok()?.st_rdev).filter(|device| *device != 0)
}

/// Looked up beneath the machine's root: whatever is there is the machine's.
fn open_console(leader: i32) -> rustix::io::Result<OwnedFd> {
    let root = format!("/proc/{leader}/root");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, "dev/console", flags, Mode::empty(), beneath)
}

/// Frees the console of a machine whose PID 1 has it as its controlling terminal, as runc gives it. Left so, no getty can have
/// it without CAP_SYS_ADMIN (ioctl_tty(2), `TIOCSCTTY`), and Ctrl-C is for PID 1, which many an init takes for
/// Ctrl-Alt-Del. By a process of its own, since whoever takes a terminal becomes a session leader.
pub(crate) fn free_console(leader: i32) {
    let Ok(console) = open_console(leader) else {
        return;
    };
    let stat = fs::read_to_string(format!("/proc/{leader}/stat")).unwrap_or_default();
    // Then it is a terminal for certain, and opening it does nothing.
    let device = rustix::fs::fstat(&console).map(|found| found.st_rdev).ok();
    if device.is_none() || device != controlling_terminal(&stat) {
        return;
    }
    let path = format!("/proc/self/fd/{}", console.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(terminal) = rustix::fs::open(path, flags, Mode::empty()) else {
        return;
    };
    // Without it, gettys that need no controlling terminal still work.
    if let Ok(Cloned::Child) = clone_process(Namespaces::NONE) {
        let _ = repot_sys::free_terminal(&terminal);
        repot_sys::exit_now(0);
    }
}

/// Field 6 of proc_pid_stat(5).
fn session(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(3)?.parse().ok()
}

/// Field 7 of proc_pid_stat(5), with the numbers of a device as makedev(3) puts them together.
fn controlling_terminal(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let number: i32 = fields.split_whitespace().nth(4)?.parse().ok()?;
    let number = number.cast_unsigned();
    // "bits 31 to 20 and 7 to 0" are the minor number, "bits 15 to 8" the major one.
    let minor = (number >> 12) & 0x000f_ff00 | number & 0xff;
    (number != 0).then(|| rustix::fs::makedev((number >> 8) & 0xfff, minor))
}

/// Whether a process may tell the kernel by reboot(2) that its machine is done (CAP_SYS_BOOT, number 22).
pub(crate) fn has_reboot_capability(pid: i32) -> bool {
    const SYS_BOOT: u64 = 1 << 22;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| {
        let mask = line.strip_prefix("CapEff:")?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    effective.is_some_and(|mask| mask & SYS_BOOT != 0)
}

/// A program of the engine that is asked for the PID.
#[derive(Debug)]
pub(crate) struct ProbeCommand {
    child: Child,
}

impl ProbeCommand {
    /// Asks. `None`: it could not be started.
    pub(crate) fn start(command: &CommandLine) -> Option<Self> {
        let (program, args) = command.argv.split_first()?;
        let child = Command::new(program)
            .args(args)
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child })
    }

    /// Its own PID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its answer is not wanted any more; to be called before it was reaped.
    pub(crate) fn abandon(mut self) {
        let _ = self.child.kill();
    }

    /// What it has answered; to be called when it has ended and was reaped.
    pub(crate) fn answer(self) -> Option<i32> {
        let mut text = String::new();
        // What it said is in the pipe; whoever else may have the other end is not waited for.
        let stdout = self.child.stdout?;
        rustix::io::ioctl_fionbio(&stdout, true).ok()?;
        let mut bytes = Vec::new();
        let _ = stdout.take(64 * 1024).read_to_end(&mut bytes);
        text.push_str(&String::from_utf8_lossy(&bytes));
        pid_in(&text).filter(|pid| is_leader(*pid))
    }
}

/// The number that is the last word of a line, the last line first.
fn pid_in(text: &str) -> Option<i32> {
    text.lines()
        .rev()
        .find_map(|line| line.split_whitespace().last()?.parse().ok())
        .filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(pid_in("4711\n"), Some(4711));
        assert_eq!(pid_in("Name: x\nPID:    12\n"), Some(12));
        assert_eq!(pid_in("0\n"), None);
        assert_eq!(pid_in("-1\n"), None);
        assert_eq!(pid_in("no such container\n"), None);
        assert_eq!(pid_in(""), None);
    }

    #[test]
    fn controlling_terminals_are_read() {
        let stat = |number: i64| format!("12 (a) b) S 1 11 12 {number} 12 4194560 0");
        let pts = |minor| Some(rustix::fs::makedev(136, minor));
        assert_eq!(controlling_terminal(&stat(34816)), pts(0));
        assert_eq!(controlling_terminal(&stat(34819)), pts(3));
        assert_eq!(controlling_terminal(&stat(1083392)), pts(256));
        assert_eq!(controlling_terminal(&stat(0)), None);
        assert_eq!(controlling_terminal(""), None);
        assert_eq!(session(&stat(0)), Some(12));
    }

    #[test]
    fn only_the_first_of_a_namespace_below_is_one() {
        assert!(is_first("\t4711\t1"));
        assert!(is_first("\t4711\t12\t1"));
        assert!(!is_first("\t1"));
        assert!(!is_first("\t4711\t12"));
        assert!(!is_first(""));
    }
}
