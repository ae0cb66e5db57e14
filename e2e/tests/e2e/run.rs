//! `repot run`: the better chroot.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Stdio;

use anyhow::{Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{LONG, SHORT, Sandbox, utf8};
use crate::session;

fn sandbox() -> Result<(Sandbox, String)> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    Ok((sandbox, tree))
}

fn script(sandbox: &Sandbox, options: &[&str], tree: &str, script: &str) -> Result<process::Done> {
    sandbox.repot(&[&["run"], options, &[tree, "sh", "-c", script]].concat())
}

#[test]
fn status_and_streams() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let done = script(&sandbox, &[], &tree, "echo out; echo err >&2; exit 7")?;
    ensure!(
        (done.code, done.out(), done.err()) == (7, "out\n".into(), "err\n".into()),
        "{done}"
    );
    sandbox.expect(&["run", &tree, "true"], 0)?;
    sandbox.expect(&["run", &tree, "/no/such/program"], 127)?;
    sandbox.expect(&["run", &tree, "no-such-program"], 127)?;
    sandbox.expect(&["run", &tree, "/etc/passwd"], 126)?;
    ensure!(script(&sandbox, &[], &tree, "kill -9 $$")?.code == 137);
    let done = sandbox.expect(&["run", "no-such-tree", "true"], 125)?;
    ensure!(done.err().contains("no-such-tree"), "{done}");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let done = sandbox.repot_with(&["run", &tree, "cat"], &bytes)?;
    ensure!(
        done.code == 0 && done.stdout == bytes,
        "{} bytes came back",
        done.stdout.len()
    );
    ensure!(
        sandbox.ok(&["list"])?.lines().count() == 1,
        "run has left a machine"
    );
    sandbox.finish()
}

/// A signal for `repot run` is one for the command, whose end is then its own.
#[test]
fn signals_are_passed_on() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let output = sandbox.dir().join("output");
    let script = r#"trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.1 || sleep 1; done"#;
    let mut child = sandbox
        .command(&["run", &tree, "sh", "-c", script])?
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .spawn()?;
    process::until("the command runs", SHORT, || {
        Ok(fs::read_to_string(&output)?.contains("up"))
    })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), Signal::TERM)?;
    let status = process::wait(&mut child, SHORT)?;
    ensure!(status.code() == Some(9), "run ended with {status}");
    ensure!(fs::read_to_string(&output)? == "up\ngot\n");
    sandbox.finish()
}

/// In every hierarchy that the host has mounted, a command is in a cgroup of its own: what it stayed out of would show the
/// host's processes.
#[test]
fn cgroups() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = sandbox.name();
    let mut child = sandbox
        .command(&["run", "-n", &name, &tree, "sleep", "300"])?
        .stdin(Stdio::null())
        .spawn()?;
    let mut leader = 0;
    process::until("the command runs", SHORT, || {
        let status = sandbox.status(&name).unwrap_or_default();
        leader = status["running"]["leader_pid"].as_i64().unwrap_or(0);
        Ok(leader > 0)
    })?;
    let mounted: Vec<String> = fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter_map(|line| line.split_once(" - cgroup"))
        .filter_map(|(_, rest)| Some(rest.rsplit(' ').next()?.to_owned()))
        .collect();
    let membership = fs::read_to_string(format!("/proc/{leader}/cgroup"))?;
    for line in membership.lines() {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        let is_mounted = controllers.split(',').all(|option| {
            mounted
                .iter()
                .any(|options| option.is_empty() || options.split(',').any(|it| it == option))
        });
        ensure!(
            !is_mounted || line.ends_with(&format!("/{name}")),
            "{line} of\n{membership}"
        );
    }
    ensure!(membership.contains("::/repot"), "{membership}");
    sandbox.ok(&["kill", &name])?;
    process::wait(&mut child, SHORT)?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// A tree on a file system that cannot be ID-mapped, such as an overlay: without a user namespace, unless one was asked for. The
/// command runs once.
#[test]
fn without_id_mapping() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let script = format!(
        r#"mkdir -p {dir}/upper {dir}/work {dir}/tree && mount -t tmpfs tmpfs {dir}/upper &&
        mkdir {dir}/upper/upper {dir}/upper/work &&
        mount -t overlay -o lowerdir={tree},upperdir={dir}/upper/upper,workdir={dir}/upper/work overlay {dir}/tree &&
        {repot} run {dir}/tree sh -c 'cat /proc/self/uid_map; echo ran' && {repot} run --userns yes {dir}/tree true"#,
        dir = utf8(sandbox.dir())?,
        repot = utf8(crate::sandbox::binary()?)?,
    );
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script])
        .env("REPOT_DATA_DIR", sandbox.data())
        .env("REPOT_RUN_DIR", sandbox.running());
    let done = process::run(&mut command, b"", LONG)?;
    let (out, err) = (done.out(), done.err());
    let map: Vec<&str> = out.split_whitespace().collect();
    ensure!(map == ["0", "0", "4294967295", "ran"], "{done}");
    ensure!(
        done.code == 125 && err.contains("cannot be ID-mapped"),
        "{done}"
    );
    sandbox.finish()
}

#[test]
fn pid_1() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let own = script(&sandbox, &["--as-pid1"], &tree, "echo $$; exit 4")?;
    ensure!((own.code, own.out()) == (4, "1\n".into()), "{own}");
    let below = script(&sandbox, &[], &tree, "echo $$")?;
    ensure!(below.code == 0 && below.out() != "1\n", "{below}");
    // Orphans are reaped: each `sleep` loses its parent and ends.
    let orphans = r#"for i in 1 2 3 4; do sh -c 'sleep 0.1 &'; done
        until ! ps -o comm | grep -q sleep; do sleep 0.1; done
        grep -l '^State:.*Z' /proc/[0-9]*/status | wc -l"#;
    let done = script(&sandbox, &[], &tree, orphans)?;
    ensure!(done.out().trim() == "0", "zombies: {done}");
    sandbox.finish()
}

#[test]
fn on_a_terminal() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let mut console = sandbox.console(&["run", &tree])?;
    session::prompt(&mut console)?;
    ensure!(console.run("id -u", SHORT)?.trim() == "0");
    session::job_control(&mut console)?;
    session::window_size(&mut console)?;
    console.send_line("exit 3")?;
    let status = console.wait_exit(LONG)?;
    ensure!(status.code() == Some(3), "run ended with {status}");
    sandbox.finish()
}

/// A tree without an init can be used, and cannot be booted, which is said with what to do.
#[test]
fn no_init() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = sandbox.base(Tree::named("bookworm-noinit")?)?;
    let done = script(
        &sandbox,
        &[],
        &tree,
        ". /etc/os-release; echo $ID; apt-get --version | head -1",
    )?;
    ensure!(
        done.code == 0 && done.out().starts_with("debian\napt "),
        "{done}"
    );
    let name = sandbox.name();
    let done = sandbox.expect(&["boot", &tree, "-n", &name], 3)?;
    for word in ["no init", "repot run", "systemd-sysv", "--init"] {
        ensure!(done.err().contains(word), "{word:?} is not said: {done}");
    }
    ensure!(sandbox.row(&name)?.is_none());
    sandbox.finish()
}

#[test]
fn binds_and_tmpfs() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let shared = sandbox.dir().join("shared");
    fs::create_dir(&shared)?;
    fs::write(shared.join("theirs"), "hello\n")?;
    chown(shared.join("theirs"), Some(1000), Some(50))?;
    let shared = utf8(&shared)?;
    let bind = format!("{shared}:/mnt/shared");
    let work = "stat -c '%u:%g' /mnt/shared/theirs; echo new >/mnt/shared/new; chown 33:44 /mnt/shared/new; touch /mnt/shared/root";
    let done = script(&sandbox, &["--bind", &bind], &tree, work)?;
    ensure!((done.code, done.out()) == (0, "1000:50\n".into()), "{done}");
    let owner =
        |name: &str| fs::metadata(format!("{shared}/{name}")).map(|meta| (meta.uid(), meta.gid()));
    ensure!(
        owner("new")? == (33, 44),
        "new belongs to {:?}",
        owner("new")?
    );
    ensure!(
        owner("root")? == (0, 0),
        "root belongs to {:?}",
        owner("root")?
    );

    let work = "cat /mnt/shared/theirs; echo no >/mnt/shared/theirs";
    let done = script(&sandbox, &["--bind-ro", &bind], &tree, work)?;
    ensure!(done.code != 0 && done.out() == "hello\n", "{done}");
    ensure!(
        fs::read_to_string(format!("{shared}/theirs"))? == "hello\n",
        "a read-only bind was written to"
    );

    let work = "grep ' /scratch tmpfs ' /proc/mounts && echo x >/scratch/x";
    let done = script(&sandbox, &["--tmpfs", "/scratch"], &tree, work)?;
    ensure!(done.code == 0, "{done}");
    let done = sandbox.expect(&["run", "--bind", "/no/such/dir", &tree, "true"], 125)?;
    ensure!(done.err().contains("/no/such/dir"), "{done}");
    sandbox.finish()
}

#[test]
fn surroundings() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let options = ["--env", "GREETING=hello world", "--hostname", "fern"];
    let done = script(
        &sandbox,
        &options,
        &tree,
        r#"echo "$GREETING"; hostname; ls /sys/class/net"#,
    )?;
    ensure!(done.out() == "hello world\nfern\nlo\n", "{done}");
    let done = script(
        &sandbox,
        &["--network", "host"],
        &tree,
        "ls /sys/class/net; cat /proc/net/dev",
    )?;
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        devices.push(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(
        devices
            .iter()
            .all(|device| done.out().contains(device.as_str())),
        "{devices:?}: {done}"
    );
    sandbox.finish()
}

/// A name makes the writes last.
#[test]
fn a_named_machine_keeps_its_writes() -> Result<()> {
    let (sandbox, tree) = sandbox()?;
    let name = sandbox.name();
    ensure!(script(&sandbox, &["-n", &name], &tree, "echo kept >/root/kept")?.code == 0);
    let done = sandbox.expect(&["run", &name, "cat", "/root/kept"], 0)?;
    ensure!(done.out() == "kept\n", "{done}");
    sandbox.expect(&["run", &tree, "test", "-e", "/root/kept"], 1)?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}
