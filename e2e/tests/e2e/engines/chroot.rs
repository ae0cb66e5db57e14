//! chroot: single commands, with mounts that end with them.

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;

use crate::sandbox::{SHORT, Sandbox};

fn tree(sandbox: &mut Sandbox) -> Result<String> {
    sandbox.base(Tree::named("bookworm-sysvinit")?)
}

/// The command's files and status are the caller's; it finds the mounts that programs expect; nothing is left.
#[test]
fn runs_a_command() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let script = "cat; echo $0 $A; stat -f -c %T /proc /sys /dev /dev/pts /dev/shm /run; ls -d /proc/[0-9]* | wc -l; exit 7";
    let run = [
        "run", "--on", "chroot", "-e", "A=b c", &tree, "sh", "-c", script, "me",
    ];
    let done = sandbox.repot_with(&run, b"in\n")?;
    ensure!(done.code == 7, "{done}");
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    ensure!(
        lines[..8]
            == [
                "in", "me b c", "proc", "sysfs", "tmpfs", "devpts", "tmpfs", "tmpfs"
            ],
        "{done}"
    );
    let processes: usize = lines[8].trim().parse().context("counting processes")?;
    ensure!(processes <= 4, "it sees {processes} processes of the host");
    let done = sandbox.repot(&[
        "run",
        "--on",
        "chroot",
        &tree,
        "sh",
        "-c",
        "sleep 1000 & kill -9 $$",
    ])?;
    ensure!(done.code == 137, "{done}");
    sandbox.finish()
}

/// On a terminal, the terminal has its name in there.
#[test]
fn has_the_terminal() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let mut console = sandbox.console(&["run", "--on", "chroot", &tree])?;
    crate::session::prompt(&mut console)?;
    let said = console.run("tty; cat /etc/hostname", SHORT)?;
    ensure!(
        said.contains("/dev/pts/") && said.contains("bookworm-sysvinit"),
        "{said:?}"
    );
    crate::session::job_control(&mut console)?;
    console.send_line("exit")?;
    let status = console.wait_exit(SHORT)?;
    ensure!(status.code() == Some(0), "{status}");
    sandbox.finish()
}

/// A killed repot takes the command and its mounts along.
#[test]
fn nothing_outlives_a_kill() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let mut console = sandbox.console(&["run", "--on", "chroot", &tree])?;
    crate::session::prompt(&mut console)?;
    // A name that no other process of this host has.
    let mark = format!("repot_{}", sandbox.id().replace(['-', '.'], "_"));
    console.run(
        &format!("MARK={mark} setsid sleep 100000 & sleep 0.2"),
        SHORT,
    )?;
    ensure!(is_running(&mark)?, "the sleep is not there");
    console.kill()?;
    process::until("all of it has ended", SHORT, || Ok(!is_running(&mark)?))?;
    // The empty directory is the next command's business.
    sandbox.ok(&["list"])?;
    sandbox.finish()
}

/// Whether a process has that value in its environment.
fn is_running(mark: &str) -> Result<bool> {
    let wanted = format!("MARK={mark}");
    for entry in std::fs::read_dir("/proc")? {
        let environment = std::fs::read(entry?.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An init is refused, with what boots it; what one types by hand is a shell.
#[test]
fn boots_nothing_and_says_so() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let name = sandbox.name();
    let refused = sandbox.expect(&["boot", &tree, "--on", "chroot", "-n", &name], 3)?;
    ensure!(
        refused.err().contains("an init has to be PID 1") && refused.err().contains("--on nspawn"),
        "{refused}"
    );
    let said = sandbox.ok(&["command", &tree, "--for", "chroot"])?;
    ensure!(
        said.contains("unshare --mount ") && said.contains(&tree),
        "{said}"
    );
    sandbox.finish()
}

/// nspawn runs single commands too, below its stub.
#[test]
fn nspawn_runs_a_command() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let run = [
        "run",
        "--on",
        "nspawn",
        &tree,
        "sh",
        "-c",
        "cat; echo $$; exit 7",
    ];
    let done = sandbox.repot_with(&run, b"in\n")?;
    ensure!((done.code, done.out()) == (7, "in\n2\n".into()), "{done}");
    sandbox.finish()
}
