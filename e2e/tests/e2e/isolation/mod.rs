//! What a machine must not be able to do to its host, and what its end must not leave there.

mod calls;
mod moving;
mod neighbours;
mod nested;
mod options;
mod own_program;
mod probes;
mod terminal;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{SHORT, Sandbox};

/// Settings of the whole host that inits like to change. (kernel/pid_max belongs to each pid namespace since Linux 6.14.)
const SETTINGS: &str = "fs/file-max fs/nr_open kernel/printk kernel/core_pattern kernel/panic kernel/sysrq \
    kernel/modprobe vm/swappiness vm/overcommit_memory vm/max_map_count kernel/threads-max";

fn small(sandbox: &mut Sandbox) -> Result<String> {
    sandbox.base(Tree::named("bookworm-busybox")?)
}

fn booted(sandbox: &mut Sandbox) -> Result<String> {
    let tree = small(sandbox)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    Ok(name)
}

fn pid(number: &serde_json::Value) -> Result<Pid> {
    let number = number
        .as_i64()
        .and_then(|number| i32::try_from(number).ok());
    number
        .and_then(Pid::from_raw)
        .context("reading a process id")
}

/// Even the same value cannot be written, neither as things are nor after trying to mount them writable.
#[test]
fn kernel_settings_cannot_be_changed() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let script = format!(
        r#"try() {{ for f in {SETTINGS}; do
            f=/proc/sys/$f; test -e $f || continue
            v=$(cat $f) && (echo "$v" >$f) 2>/dev/null && echo "changed $f"
        done; (echo h >/proc/sysrq-trigger) 2>/dev/null && echo "sysrq"; true; }}
        try; mount -o remount,rw /proc/sys; mount -o remount,rw,bind /proc/sys; umount /proc/sys
        umount /proc/sysrq-trigger; mkdir /tmp/p; mount -t proc proc /tmp/p && ls /tmp/p | head -1 >/dev/null
        try; true"#
    );
    let done = sandbox.expect(&["exec", &name, "sh", "-c", &script], 0)?;
    ensure!(done.out().is_empty(), "{done}");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

#[test]
fn no_devices_of_the_host() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    ensure!(
        sandbox
            .exec(&name, &["find", "/dev", "-type", "b"])?
            .is_empty(),
        "block devices are visible"
    );
    let disk = fs::read_dir("/sys/block")?
        .flatten()
        .next()
        .context("finding a disk")?;
    let number = fs::read_to_string(disk.path().join("dev"))?;
    let (major, minor) = number
        .trim()
        .split_once(':')
        .context("reading a device number")?;
    let script = format!(
        "for d in / /dev /tmp /run; do mknod $d/disk b {major} {minor} && head -c 1 $d/disk && echo READ $d; done; \
        mknod /run/kmsg c 1 11 && echo x >/run/kmsg && echo WROTE; true"
    );
    let done = sandbox.expect(&["exec", &name, "sh", "-c", &script], 0)?;
    ensure!(
        !done.out().contains("READ") && !done.out().contains("WROTE"),
        "{done}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// Root in the machine is nobody on the host.
#[test]
fn ids_are_shifted() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let leader = pid(&sandbox.status(&name)?["running"]["leader_pid"])?;
    let status = fs::read_to_string(format!("/proc/{}/status", leader.as_raw_nonzero()))?;
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .context("reading the ids")?;
    let shifted = uids
        .split_whitespace()
        .all(|uid| uid.parse::<u32>().is_ok_and(|uid| uid >= 65536));
    ensure!(shifted, "PID 1 has the ids {uids} on the host");
    ensure!(sandbox.exec(&name, &["id", "-u"])? == "0");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// Nothing of repot's or the caller's files is open in the machine.
#[test]
fn no_inherited_descriptors() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let list = "for fd in /proc/self/fd/*; do readlink $fd; done; true";
    for option in ["--as-pid1", "--as-pid2"] {
        let done = sandbox.expect(&["run", option, &tree, "sh", "-c", list], 0)?;
        // Three pipes; what the glob and readlink opened themselves is gone or their own.
        let strange = done
            .out()
            .lines()
            .filter(|line| !line.starts_with("pipe:"))
            .count();
        ensure!(strange == 0, "{option}: {done}");
    }
    let name = sandbox.name();
    let init = [
        "boot",
        &tree,
        "-d",
        "--timeout",
        "30",
        "-n",
        &name,
        "--init",
        "/bin/sh",
        "--",
        "-c",
    ];
    let script = "readlink /proc/1/fd/* >/fds; exec /sbin/init";
    sandbox.ok(&[&init[..], &[script]].concat())?;
    let open = sandbox.exec(&name, &["cat", "/fds"])?;
    let expected = ["/dev/console", "/dev/tty1", "/dev/null", "/fds", "/proc/"];
    let is_known = |line: &str| {
        line.is_empty()
            || line.starts_with("/dev/pts/")
            || expected.iter().any(|known| line.starts_with(known))
    };
    ensure!(open.lines().all(is_known), "open in PID 1: {open}");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// Processes of the host are not to be seen, nor can they be signalled.
#[test]
fn other_processes_are_invisible() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let own = std::process::id().to_string();
    let seen = sandbox.exec(&name, &["sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null"])?;
    ensure!(
        !seen.contains("repot-machine") && !seen.contains("cargo"),
        "{seen}"
    );
    sandbox.expect(
        &["exec", &name, "test", "-e", &format!("/proc/{own}/exe")],
        1,
    )?;
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// A machine does not outlive its supervisor, and the next command removes what it left.
#[test]
fn a_killed_supervisor_takes_the_machine_along() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let running = &sandbox.status(&name)?["running"];
    let leader = pid(&running["leader_pid"])?.as_raw_nonzero();
    kill_process(pid(&running["supervisor_pid"])?, Signal::KILL)?;
    process::until("PID 1 is gone", SHORT, || {
        Ok(!Path::new(&format!("/proc/{leader}")).exists())
    })?;
    ensure!(sandbox.state(&name)? == "stopped");
    let left: Vec<_> = fs::read_dir(sandbox.running())?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    ensure!(
        left.iter().all(|name| name == ".locks"),
        "the next command has left {left:?}"
    );
    sandbox.ok(&["boot", &name, "-d"])?;
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}
