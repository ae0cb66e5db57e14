//! Harmless attempts at the host: a file is opened and not used, a mount is made in the machine's own namespace only. Each
//! is made with the protection on, and, where that is harmless too, with it off, so that it is known to be able to succeed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repot_e2e::process;

use super::{booted, small};
use crate::sandbox::{LONG, Sandbox, binary};

/// Prints the names of the attempts that succeed.
const PROBES: &str = r#"
    got() { name=$1; shift; ("$@") >/dev/null 2>&1 && echo $name; }
    writable() { : >>$1; }
    readable() { head -c 1 $1 | grep -q .; }
    node() { mknod /probe-$3-$4 $2 $3 $4 && : </probe-$3-$4; }
    mounts() { mkdir -p /probe; mount -t $1 probe /probe && umount /probe; }
    for f in kernel/core_pattern kernel/modprobe kernel/printk vm/swappiness fs/file-max; do
        got sysctl writable /proc/sys/$f; done
    got sysrq writable /proc/sysrq-trigger
    got kcore readable /proc/kcore
    got mem node mem c 1 1
    got kmsg node kmsg c 1 11
    got uevent writable /sys/kernel/uevent_seqnum
    got debugfs mounts debugfs
    got tracefs mounts tracefs
    got log dmesg
    [ "$(stat -c %a /proc/keys)" = 0 ] || echo keys
    echo x >/probe.ko; insmod /probe.ko 2>&1 | grep -q 'not permitted' || echo module
    for c in memory cpu pids freezer devices; do
        mkdir -p /probe; mount -t cgroup -o $c probe /probe 2>/dev/null || continue
        test -e /probe/release_agent && echo release_agent; umount /probe; done
    true"#;

fn successes(sandbox: &Sandbox, options: &[&str], tree: &str) -> Result<Vec<String>> {
    let run = [&["run"], options, &[tree, "sh", "-c", PROBES]].concat();
    let mut names: Vec<String> = sandbox.ok(&run)?.lines().map(str::to_owned).collect();
    names.dedup();
    Ok(names)
}

#[test]
fn the_host_is_out_of_reach() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let none = successes(&sandbox, &[], &tree)?;
    ensure!(none.is_empty(), "{none:?}");
    // With all that is asked for but without the host's IDs: the user namespace alone holds these.
    let got = successes(&sandbox, &["--privileged"], &tree)?;
    for held in [
        "sysctl", "sysrq", "kcore", "mem", "kmsg", "debugfs", "tracefs",
    ] {
        ensure!(!got.iter().any(|name| name == held), "{held}: {got:?}");
    }
    ensure!(got.iter().any(|name| name == "keys"), "{got:?}");
    // Without the user namespace the masks hold, as far as they go.
    let got = successes(&sandbox, &["--userns", "no"], &tree)?;
    for held in [
        "sysctl", "sysrq", "kcore", "mem", "kmsg", "log", "keys", "module",
    ] {
        ensure!(!got.iter().any(|name| name == held), "{held}: {got:?}");
    }
    ensure!(got.iter().any(|name| name == "debugfs"), "{got:?}");
    // Without any, everything succeeds that this host's kernel has: the attempts are real.
    let got = successes(&sandbox, &["--userns", "no", "--privileged"], &tree)?;
    for (given, file) in [
        ("sysctl", "/proc/sys/kernel/printk"),
        ("sysrq", "/proc/sysrq-trigger"),
        ("mem", "/dev/mem"),
        ("kmsg", "/dev/kmsg"),
        ("debugfs", "/sys/kernel/debug"),
        ("keys", "/proc/keys"),
        ("log", "/dev/kmsg"),
        ("module", "/sys/module"),
    ] {
        let is_there = Path::new(file).exists();
        ensure!(
            !is_there || got.iter().any(|name| name == given),
            "{given}: {got:?}"
        );
    }
    sandbox.finish()
}

/// User namespaces within are the machine's own affair, and work.
#[test]
fn user_namespaces_can_be_made_inside() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = small(&mut sandbox)?;
    let said = sandbox.ok(&["run", &tree, "unshare", "-U", "-r", "id", "-u"])?;
    ensure!(said == "0\n", "{said}");
    sandbox.finish()
}

/// A descriptor that the caller left open is no way out (CVE-2024-21626), whether the user names it or the tree.
#[test]
fn the_working_directory_stays_inside() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = booted(&mut sandbox)?;
    let with_open_root = |args: &str| -> Result<process::Done> {
        let mut command = Command::new("sh");
        let script = format!("exec 7</; exec \"$0\" {args}");
        command.args(["-c", &script]).arg(binary()?);
        for (key, value) in sandbox.command(&["list"])?.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        process::run(&mut command, b"", LONG)
    };
    let refused = with_open_root(&format!("exec -w /proc/self/fd/7 {name} pwd"))?;
    ensure!(refused.code != 0 && refused.out().is_empty(), "{refused}");
    let passwd = "root::0:0:root:/proc/self/fd/7:/bin/sh";
    let write = format!("echo '{passwd}' >/etc/passwd");
    sandbox.exec(&name, &["sh", "-c", &write])?;
    let home = with_open_root(&format!("exec {name} pwd"))?;
    ensure!(home.code == 0 && home.out() == "/\n", "{home}");
    // What is left open does not reach the program.
    let open = with_open_root(&format!("exec {name} readlink /proc/self/fd/7"))?;
    ensure!(open.code != 0, "{open}");
    sandbox.ok(&["rm", "-f", &name]).context("removing it")?;
    sandbox.finish()
}
