//! What an init and its login stack want from whoever starts them.

use crate::Signal;
use serde::{Deserialize, Serialize};

/// A layout of the cgroup file system that an init can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// cgroup2 at `/sys/fs/cgroup` (cgroups(7)).
    V2,
    /// The named v1 hierarchy `name=systemd` at `/sys/fs/cgroup/systemd`, as systemd before 230 demands.
    V1Systemd,
}

/// What an init wants: computed from facts by the init's own file, read by every engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// `argv[0]` and the arguments of PID 1. `argv[0]` is also the program, as an absolute path inside the tree.
    pub argv: Vec<String>,
    /// Variables for PID 1, beyond those of the engine.
    pub env: Vec<(String, String)>,
    /// Values of `container=` under which this init boots best, best first; an empty list says "leave it unset".
    pub container: Vec<String>,
    /// cgroup layouts that it can use, best first. Empty: it does not care.
    pub cgroups: Vec<CgroupVersion>,
    /// How it is asked to power off.
    pub power_off: StopProtocol,
    /// How it is asked to restart the machine.
    pub reboot: StopProtocol,
    /// How one learns that it is up.
    pub ready: ReadySign,
    /// Whether it tells the kernel by reboot(2), with CAP_SYS_BOOT, that it has finished.
    pub uses_reboot_syscall: bool,
}

/// How an init is asked for something. The requests are tried in order, the next one when the previous could
/// not be carried out (program missing, no such fifo); one that was carried out is given the whole time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopProtocol {
    /// The requests.
    pub requests: Vec<StopAction>,
    /// How long a shutdown may reasonably take, in seconds: Debian's runit takes 16.
    pub patience_s: u32,
    /// Why so: man page or source of the init.
    pub source: String,
}

impl Needs {
    /// The same where an emulator runs the init: no real-time signals, if there is another way. qemu-user numbers them anew, since
    /// the C library that it is built with keeps the first ones; measured with 7.2: SIGRTMIN+4 arrives as SIGRTMIN+2, which puts
    /// systemd into emergency mode.
    #[must_use]
    pub fn emulated(self) -> Self {
        Self {
            power_off: self.power_off.without_real_time_signals(),
            reboot: self.reboot.without_real_time_signals(),
            ..self
        }
    }
}

impl StopProtocol {
    fn without_real_time_signals(mut self) -> Self {
        let is_safe = |request: &StopAction| match request {
            StopAction::Signal { signal } | StopAction::Touch { signal, .. } => {
                !signal.is_real_time()
            }
            StopAction::Run { .. } => true,
        };
        if self.requests.iter().any(is_safe) && !self.requests.iter().all(is_safe) {
            self.requests.retain(is_safe);
            self.source
                .push_str("; qemu-user gives real-time signals other numbers");
        }
        self
    }
}

/// One request to an init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum StopAction {
    /// A signal to PID 1.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// A program of the tree, run inside the machine as root. Carried out if it exits 0 or is killed: the shutdown
    /// that it asked for may take it along (measured with the Shepherd's herd, halt and reboot).
    Run {
        /// argv; `argv[0]` is an absolute path.
        argv: Vec<String>,
    },
    /// Creates a file (mode `mode`, empty) inside the machine, then sends a signal: runit's stopit.
    Touch {
        /// Absolute path inside the machine.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Sent to PID 1 afterwards.
        signal: Signal,
    },
}

/// How one learns that a machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadySign {
    /// `READY=1` on `$NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// A prompt on the console.
    Prompt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_inits_are_asked_without_real_time_signals() {
        let signal = |signal| StopAction::Signal { signal };
        let run = StopAction::Run {
            argv: vec!["/bin/systemctl".into(), "poweroff".into()],
        };
        let of = |requests: &[&StopAction]| StopProtocol {
            requests: requests.iter().map(|it| (*it).clone()).collect(),
            patience_s: 1,
            source: "x".into(),
        };
        let (real_time, term) = (signal(Signal::rtmin(4)), signal(Signal::TERM));
        assert_eq!(of(&[&real_time, &run]).without_real_time_signals(), {
            let source = "x; qemu-user gives real-time signals other numbers".into();
            StopProtocol {
                source,
                ..of(&[&run])
            }
        });
        for same in [of(&[&real_time]), of(&[&term, &run]), of(&[])] {
            assert_eq!(same.clone().without_real_time_signals(), same);
        }
    }
}
