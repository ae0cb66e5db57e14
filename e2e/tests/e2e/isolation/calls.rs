//! System calls that act on the whole kernel, or on repot's own process in the machine. All are made so that they do nothing
//! when they succeed.

use anyhow::{Result, ensure};
use repot_e2e::trees::Tree;

use crate::sandbox::Sandbox;

/// Prints a name and the errno of each call; 0 for success. Numbers: x86-64 and, as from Linux' generic list, others.
const CALLS: &str = r#"
    my ($settimeofday, $reboot, $bpf, $ptrace, $keyctl) = $ARGV[0] eq 'x86_64'
        ? (164, 169, 321, 101, 250) : (170, 142, 280, 117, 219);
    sub said { my ($name, $result) = @_; printf "%s=%d\n", $name, $result < 0 ? $!+0 : 0; }
    # Neither a time nor a zone: only the permission is looked at.
    said 'clock', syscall($settimeofday, 0, 0);
    # LINUX_REBOOT_CMD_CAD_OFF: on a host, Ctrl-Alt-Del would signal PID 1, as it does in a container host anyway; in a PID namespace it is invalid.
    said 'reboot', syscall($reboot, 0xfee1dead, 672274793, 0, 0);
    # No command of that number, no arguments.
    said 'bpf', syscall($bpf, 9999, 0, 0);
    said 'io_uring', syscall(425, 0, 0);
    # KEYCTL_GET_KEYRING_ID of the session keyring, not created.
    said 'keyring', syscall($keyctl, 0, -3, 0);
    # PTRACE_SEIZE, undone at once by the end of this process.
    said 'ptrace', syscall($ptrace, 0x4206, 1, 0, 0);
    said 'exe', open(my $exe, '<', '/proc/1/exe') ? 0 : -1;
    said 'memory', open(my $mem, '<', '/proc/1/mem') ? 0 : -1;
    said 'files', opendir(my $fd, '/proc/1/fd') ? 0 : -1;"#;

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EINVAL: i32 = 22;
const EACCES: i32 = 13;

fn errnos(sandbox: &Sandbox, options: &[&str], tree: &str) -> Result<Vec<(String, i32)>> {
    let perl = ["perl", "-e", CALLS, std::env::consts::ARCH];
    let done = sandbox.ok(&[&["run"], options, &[tree], &perl].concat())?;
    let pairs = done.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, errno)| Ok((name.to_owned(), errno.parse()?)))
        .collect()
}

#[test]
fn calls_that_act_on_the_host_are_refused() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let got = errnos(&sandbox, &[], &tree)?;
    let errno = |got: &[(String, i32)], name: &str| {
        let found = got.iter().find(|(known, _)| known == name);
        found.map_or(-1, |(_, errno)| *errno)
    };
    for (name, expected) in [
        ("clock", EPERM),
        ("reboot", EINVAL),
        ("bpf", EPERM),
        ("io_uring", ENOSYS),
        ("keyring", ENOSYS),
        // PID 1 is repot's own program here.
        ("ptrace", EPERM),
        ("exe", EACCES),
        ("memory", EACCES),
        ("files", EACCES),
    ] {
        ensure!(errno(&got, name) == expected, "{name}: {got:?}");
    }
    // The same without the protections. Invalid arguments come after the permission.
    let got = errnos(&sandbox, &["--userns", "no", "--privileged"], &tree)?;
    for name in ["clock", "keyring", "exe", "memory", "files"] {
        ensure!(errno(&got, name) == 0, "{name}: {got:?}");
    }
    for name in ["bpf", "io_uring"] {
        ensure!(!matches!(errno(&got, name), EPERM | 0), "{name}: {got:?}");
    }
    // The PID namespace stays.
    ensure!(errno(&got, "reboot") == EINVAL, "{got:?}");
    // A program of the tree may be looked at by its own machine.
    let got = errnos(&sandbox, &["--as-pid1"], &tree)?;
    ensure!(
        errno(&got, "exe") == 0 && errno(&got, "memory") == 0,
        "{got:?}"
    );
    sandbox.finish()
}
