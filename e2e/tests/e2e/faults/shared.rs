//! What all machines of a host share and one of them uses up: the others, and the host, have enough.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::sandbox::{SHORT, Sandbox};

/// Makes inotify instances until there are no more, says how many, and keeps them until its standard input ends.
const INOTIFY: &str =
    r#"my $n = 0; $n++ while syscall($ARGV[0], 0) >= 0; $| = 1; print "$n $!\n"; <STDIN>;"#;

/// The same with terminals, by several processes, since one may not have so many descriptors.
const TERMINALS: &str = r#"
    pipe(my $from, my $to); my ($all, $n) = (0, 500);
    while ($n == 500) {
        if (!fork) {
            close STDIN; close $from; my @held;
            while (@held < 500 && open(my $pty, '+<', '/dev/ptmx')) { push @held, $pty }
            syswrite $to, pack('l', scalar @held); sleep 1000; exit;
        }
        sysread $from, my $said, 4; $n = unpack 'l', $said; $all += $n;
    }
    $| = 1; print "$all\n"; <STDIN>; kill 9, -getpgrp;"#;

/// A session that holds something until its end.
struct Holder {
    session: Child,
    said: String,
}

impl Holder {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Result<Holder> {
        let mut command = sandbox.command(args)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut session = command.spawn()?;
        let mut said = String::new();
        let stdout = session.stdout.take().context("taking a pipe")?;
        BufReader::new(stdout).read_line(&mut said)?;
        Ok(Holder { session, said })
    }

    fn end(mut self) -> Result<()> {
        drop(self.session.stdin.take());
        process::wait(&mut self.session, SHORT)?;
        Ok(())
    }
}

/// The kernel allows so many inotify instances per user (`fs.inotify.max_user_instances`), and systemd does not start without
/// one. Each machine is a user by itself.
#[test]
fn inotify_instances_are_counted_per_machine() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let number = if cfg!(target_arch = "x86_64") {
        "294"
    } else {
        "26"
    };
    let run = ["run", &tree, "perl", "-e", INOTIFY, number];
    let first = Holder::start(&sandbox, &run)?;
    ensure!(first.said.contains("Too many open files"), "{}", first.said);
    let second = Holder::start(&sandbox, &run)?;
    ensure!(
        second.said == first.said && !second.said.starts_with("0 "),
        "the first has {}, the second {}",
        first.said,
        second.said
    );
    first.end()?;
    second.end()?;
    sandbox.finish()
}

/// All devpts of a host share `kernel.pty.max` terminals. A machine that takes all that it can get gets no further one, which is
/// said, and other machines do.
#[test]
fn one_machine_cannot_take_all_terminals() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let (greedy, other) = (sandbox.name(), sandbox.name());
    sandbox.ok(&["boot", &tree, "-d", "-n", &greedy])?;
    let holder = Holder::start(
        &sandbox,
        &["exec", &greedy, "setsid", "-w", "perl", "-e", TERMINALS],
    )?;
    let count: u32 = holder.said.trim().parse()?;
    ensure!(count < 1024, "it got {count}");
    let mut console = sandbox.console(&["login", &greedy])?;
    let status = console.wait_exit(SHORT)?;
    ensure!(
        !status.success() && console.text().contains("gives no terminal"),
        "{status}: {}",
        console.text()
    );
    // What needs no terminal works.
    ensure!(sandbox.exec(&greedy, &["echo", "here"])? == "here");
    sandbox.ok(&["boot", &tree, "-d", "-n", &other])?;
    let mut console = sandbox.console(&["exec", &other, "tty"])?;
    ensure!(console.wait_exit(SHORT)?.success(), "{}", console.text());
    holder.end()?;
    sandbox.ok(&["stop", &greedy, &other])?;
    sandbox.ok(&["rm", &greedy, &other])?;
    sandbox.finish()
}
