//! What belongs to other machines, or to the host, and can be named: terminals, processes, sockets without a path.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::Tree;

use super::booted;
use crate::sandbox::{SHORT, Sandbox};

/// Each machine has its own devpts, and every further mount of one is a new one.
#[test]
fn terminals_of_others_cannot_be_opened() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let (one, other) = (booted(&mut sandbox)?, booted(&mut sandbox)?);
    let mut session = sandbox.console(&["shell", &one])?;
    session.send_line("tty; echo 'it is' here")?;
    let tty = session.expect(repot_e2e::console::Pattern::from("it is here"), SHORT)?;
    drop(tty);
    let count = |name: &str, dir: &str| {
        sandbox.exec(
            name,
            &["sh", "-c", &format!("ls {dir} | grep -c '[0-9]'; true")],
        )
    };
    let with_session: u32 = count(&one, "/dev/pts")?.parse()?;
    let without: u32 = count(&other, "/dev/pts")?.parse()?;
    ensure!(
        with_session > without,
        "{with_session} terminals, {without} in the other"
    );
    let mount = "mkdir /tmp/pts && mount -t devpts devpts /tmp/pts && ls /tmp/pts";
    ensure!(sandbox.exec(&other, &["sh", "-c", mount])? == "ptmx");
    // Even by the same number it is another: writing to it is not seen.
    let write = "for t in /dev/pts/[0-9]*; do echo INTRUDER >$t; done";
    sandbox.exec(&other, &["sh", "-c", write])?;
    session.send_line("echo 'it is' over")?;
    session.expect("it is over", SHORT)?;
    ensure!(!session.text().contains("INTRUDER"), "{}", session.text());
    session.kill()?;
    sandbox.ok(&["rm", "--force", &one, &other])?;
    sandbox.finish()
}

/// PIDs of the host, also of repot's own processes and of the next machine's, name nothing in a machine.
#[test]
fn processes_of_others_cannot_be_named() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let (one, other) = (booted(&mut sandbox)?, booted(&mut sandbox)?);
    let running = &sandbox.status(&other)?["running"];
    let inside = sandbox.exec(&one, &["sh", "-c", "cd /proc; echo [0-9]*"])?;
    for key in ["leader_pid", "supervisor_pid"] {
        let pid = running[key].as_i64().context("reading a PID")?.to_string();
        // Small numbers may be processes of this machine.
        if !inside.split(' ').any(|known| known == pid) {
            sandbox.expect(&["exec", &one, "kill", "-0", &pid], 1)?;
            sandbox.expect(&["exec", &one, "test", "-e", &format!("/proc/{pid}")], 1)?;
        }
    }
    sandbox.ok(&["rm", "--force", &one, &other])?;
    sandbox.finish()
}

/// A socket without a path belongs to its network namespace: out of reach, but with the host's network.
#[test]
fn abstract_sockets_of_the_host() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let name = format!("repot-{}", sandbox.id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let connect = "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); \
        exit(connect($s, pack_sockaddr_un(\"\\0$ARGV[0]\")) ? 0 : 7)";
    let perl = ["perl", "-e", connect, &name];
    sandbox.expect(&[&["run", &tree], &perl[..]].concat(), 7)?;
    sandbox.expect(
        &[&["run", "--network", "host", &tree], &perl[..]].concat(),
        0,
    )?;
    sandbox.finish()
}
