//! The stub init: PID 1 of a machine in shell mode. It starts one program, reaps orphans, forwards signals, and ends
//! with the program's status.
//!
//! It runs in the process that clone(2) made, without an exec: nothing of it is visible in the machine's file system, and
//! it is not dumpable, so the machine cannot reach the host's binary through `/proc/1/exe` (CVE-2019-5736).

use crate::step::{Context, Report};
use repot_sys::{Cloned, Namespaces, SignalSet};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use std::ffi::{CStr, CString};

/// Signals that end, stop or inform a program; the stub passes them on to its child.
const FORWARDED: &[i32] = &[1, 2, 3, 10, 12, 15, 18, 28, 30];
const SIGCHLD: i32 = 17;

/// Where programs are looked for when `PATH` is not set: what login(1) gives root.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the stub. Returns an errno only if the program could not be started; otherwise ends the process.
pub(crate) fn run(argv: &[CString], env: &[CString], context: &Context) -> Errno {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let watched: Vec<i32> = FORWARDED.iter().copied().chain([SIGCHLD]).collect();
    let set = SignalSet::of(&watched);
    let signals = match repot_sys::block_signals(&set).and_then(|()| repot_sys::signal_fd(&set)) {
        Ok(signals) => signals,
        Err(error) => return error.errno,
    };
    let child = match repot_sys::clone_process(Namespaces::NONE) {
        Err(error) => return error.errno,
        Ok(Cloned::Child) => {
            drop(signals);
            context.report(Report::NoExec {
                errno: start(argv, env).raw_os_error(),
            });
            repot_sys::exit_now(127)
        }
        Ok(Cloned::Parent { pid, .. }) => pid,
    };
    serve(child, signals)
}

/// The child: own session with the console as its terminal, if there is one, then the program.
fn start(argv: &[CString], env: &[CString]) -> Errno {
    if rustix::termios::isatty(rustix::stdio::stdin()) && rustix::process::setsid().is_ok() {
        let _ = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin());
    }
    repot_sys::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    exec_in_path(argv, env)
}

/// Executes `argv[0]`, looked up in the `PATH` of `env` if it holds no slash. Returns the errno of the best match.
pub(crate) fn exec_in_path(argv: &[CString], env: &[CString]) -> Errno {
    let Some(program) = argv.first() else {
        return Errno::NOENT;
    };
    if program.to_bytes().contains(&b'/') {
        return repot_sys::exec(program, argv, env).errno;
    }
    let path = env
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH.as_bytes());
    let mut result = Errno::NOENT;
    for dir in path
        .split(|byte| *byte == b':')
        .filter(|dir| !dir.is_empty())
    {
        let Ok(candidate) = CString::new([dir, b"/", program.to_bytes()].concat()) else {
            continue;
        };
        let errno = repot_sys::exec(&candidate, argv, env).errno;
        // Like execvp(3): a match that may not be executed is remembered, the search goes on.
        if errno != Errno::NOENT && errno != Errno::NOTDIR {
            result = errno;
        }
    }
    result
}

/// PID 1: forwards, reaps, ends with the child.
fn serve(child: i32, signals: std::os::fd::OwnedFd) -> ! {
    // Nothing of the parent stays open, above all not the socket whose end says that the start went well.
    let stay = rustix::stdio::dup2_stdin(&signals).is_ok();
    drop(signals);
    if !stay || repot_sys::close_from(3).is_err() {
        repot_sys::exit_now(125);
    }
    let _ = rustix::process::chdir(c"/" as &CStr);
    loop {
        let mut ready = [rustix::event::PollFd::from_borrowed_fd(
            rustix::stdio::stdin(),
            rustix::event::PollFlags::IN,
        )];
        let _ = rustix::event::poll(&mut ready, None);
        while let Ok(Some(number)) = repot_sys::take_signal(rustix::stdio::stdin()) {
            if number == SIGCHLD {
                reap(child);
            } else if let (Some(pid), Some(signal)) =
                (Pid::from_raw(child), Signal::from_named_raw(number))
            {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

fn reap(child: i32) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() != child {
            continue;
        }
        let code = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (_, Some(signal)) => 128 + signal,
            _ => continue,
        };
        repot_sys::exit_now(u8::try_from(code).unwrap_or(255));
    }
}
