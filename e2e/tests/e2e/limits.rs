//! What a machine may use of its host: machines that want more, and what is told of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use repot_e2e::process;
use repot_e2e::trees::Tree;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::{LONG, SHORT, Sandbox, binary, utf8};

/// Needs more than 64 MiB of memory, and shows its exit status: 137 if it was killed.
const HUNGRY: &str = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo $?";

/// Starts processes until no more can be started, and goes on trying for ever. In perl, since a shell gives up.
const BOMB: &str = "perl -e 'for (;;) { my $pid = fork; sleep 1000 if defined $pid && !$pid; \
    select undef, undef, undef, 0.01 if !defined $pid }' </dev/null >/dev/null 2>&1 &";

fn tree(sandbox: &mut Sandbox) -> Result<String> {
    sandbox.base(Tree::named("bookworm-busybox")?)
}

fn boot(sandbox: &mut Sandbox, options: &[&str]) -> Result<String> {
    let tree = tree(sandbox)?;
    let name = sandbox.name();
    sandbox.ok(&[&["boot", &tree, "-d", "-n", &name], options].concat())?;
    Ok(name)
}

/// A file of a running machine's cgroup, in whichever hierarchy has it.
fn cgroup_file(sandbox: &Sandbox, name: &str, file: &str) -> Result<PathBuf> {
    let status = sandbox.status(name)?;
    let path = status["running"]["spec"]["cgroup"]["path"].as_str();
    let path = Path::new(path.context("reading the cgroup's path")?).join(file);
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(fs::read_dir(&roots[0])?.flatten().map(|entry| entry.path()));
    let found = roots.iter().map(|root| root.join(&path));
    found
        .into_iter()
        .find(|file| file.exists())
        .with_context(|| format!("looking for {file}"))
}

/// The first of these files that exists, without the line break.
fn setting(sandbox: &Sandbox, name: &str, files: &[&str]) -> Result<String> {
    let found = files
        .iter()
        .find_map(|file| cgroup_file(sandbox, name, file).ok());
    let found = found.with_context(|| format!("looking for {files:?}"))?;
    Ok(fs::read_to_string(found)?.trim().to_owned())
}

fn memory_limit(sandbox: &Sandbox, name: &str) -> Result<String> {
    setting(sandbox, name, &["memory.max", "memory.limit_in_bytes"])
}

fn kills(state: &Value) -> u64 {
    state["oom_kills"].as_u64().unwrap_or(0)
}

/// Who takes more memory than it may is killed; the host and another machine are not touched. Everybody is told.
#[test]
fn memory_is_limited_and_its_end_is_told() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let limited = boot(&mut sandbox, &["--memory", "64M"])?;
    let other = boot(&mut sandbox, &[])?;
    ensure!(memory_limit(&sandbox, &limited)? == (64 << 20).to_string());
    ensure!(sandbox.exec(&limited, &["sh", "-c", HUNGRY])? == "137");
    ensure!(sandbox.exec(&other, &["sh", "-c", HUNGRY])? == "0");
    process::until("the kill is told", SHORT, || {
        Ok(kills(&sandbox.status(&limited)?["running"]) > 0)
    })?;
    let logs = sandbox.ok(&["logs", &limited])?;
    let told = "repot: out of memory: 1 process killed (limit 64.0 MiB)";
    ensure!(logs.contains(told), "{logs}");
    let status = sandbox.ok(&["status", &limited])?;
    ensure!(
        status.contains("of 64.0 MiB") && status.contains("1 process killed"),
        "{status}"
    );
    ensure!(kills(&sandbox.status(&other)?["running"]) == 0);
    for name in [&limited, &other] {
        ensure!(sandbox.state(name)? == "running", "{name} has gone");
    }
    sandbox.ok(&["stop", &limited])?;
    ensure!(kills(&sandbox.status(&limited)?["last_run"]) == 1);
    sandbox.ok(&["rm", "-f", &limited, &other])?;
    sandbox.finish()
}

/// Also where no supervisor looks after the machine.
#[test]
fn a_run_tells_that_memory_was_short() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let done = sandbox.expect(&["run", "--memory", "64M", &tree, "sh", "-c", HUNGRY], 0)?;
    ensure!(
        done.err()
            .contains("out of memory: 1 process killed (limit 64.0 MiB)"),
        "{done}"
    );
    let done = sandbox.expect(&["run", &tree, "sh", "-c", HUNGRY], 0)?;
    ensure!(!done.err().contains("memory"), "{done}");
    sandbox.finish()
}

/// An init that is itself the one who takes too much.
#[test]
fn an_init_without_memory_is_told_of() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let name = sandbox.name();
    let boot = [
        "boot", &tree, "-d", "-n", &name, "--memory", "64M", "--init", "/bin/sh", "--", "-c",
    ];
    let script = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
    let done = sandbox.repot(&[&boot[..], &[script]].concat())?;
    ensure!(done.code == 3 && done.err().contains("signal 9"), "{done}");
    let status = sandbox.ok(&["status", &name])?;
    ensure!(status.contains("1 process killed"), "{status}");
    ensure!(
        sandbox
            .ok(&["logs", &name])?
            .contains("repot: out of memory: 1 process killed")
    );
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// What was set stays with the machine until it is set anew, and the machine cannot change it.
#[test]
fn limits_are_kept_and_cannot_be_raised_from_inside() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = boot(&mut sandbox, &["--memory", "64M", "--pids", "200"])?;
    let raise = "mkdir -p /tmp/c; mount -t cgroup -o memory c /tmp/c
        for dir in /tmp/c /sys/fs/cgroup /sys/fs/cgroup/..; do
            echo max >$dir/memory.max; echo -1 >$dir/memory.memsw.limit_in_bytes
            echo -1 >$dir/memory.limit_in_bytes; echo max >$dir/pids.max; done; true";
    sandbox.exec(&name, &["sh", "-c", raise])?;
    let kept = |sandbox: &Sandbox| -> Result<bool> {
        let memory = memory_limit(sandbox, &name)?;
        let pids = setting(sandbox, &name, &["pids.max"])?;
        Ok((memory.as_str(), pids.as_str()) == ("67108864", "200"))
    };
    ensure!(kept(&sandbox)?, "the machine has changed its limits");
    sandbox.ok(&["reboot", "--wait", &name])?;
    ensure!(kept(&sandbox)?, "a reboot has changed them");
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d"])?;
    ensure!(kept(&sandbox)?, "they were forgotten");
    sandbox.ok(&["stop", &name])?;
    sandbox.ok(&["boot", &name, "-d", "--memory", "unlimited"])?;
    let limits = &sandbox.status(&name)?["running"]["spec"]["limits"];
    ensure!(
        limits["memory_bytes"].is_null() && limits["pids"] == 200,
        "{limits}"
    );
    ensure!(memory_limit(&sandbox, &name)? != "67108864");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// A machine that forks without end fills its own share; the host, and the machine's end, go on as always.
#[test]
fn a_fork_bomb_stays_inside() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    // Its init can only be asked by a program, for which there is no room.
    let tree = sandbox.base(Tree::named("bookworm-sysvinit")?)?;
    let (stopped, killed) = (sandbox.name(), sandbox.name());
    for name in [&stopped, &killed] {
        sandbox.ok(&["boot", &tree, "-d", "--pids", "60", "-n", name])?;
        sandbox.exec(name, &["sh", "-c", BOMB])?;
        process::until("all processes are taken", SHORT, || {
            Ok(sandbox.status(name)?["usage"]["processes"] == 60)
        })?;
    }
    ensure!(sandbox.ok(&["run", &tree, "echo", "fine"])? == "fine\n");
    let done = sandbox.expect(&["exec", &stopped, "true"], 125)?;
    ensure!(done.err().contains("limits: 60 processes"), "{done}");
    let done = sandbox.expect(&["stop", "--timeout", "5", &stopped], 1)?;
    ensure!(done.err().contains("was killed"), "{done}");
    sandbox.ok(&["kill", &killed])?;
    for name in [&stopped, &killed] {
        process::until("it has ended", SHORT, || {
            Ok(sandbox.state(name)? == "stopped")
        })?;
    }
    sandbox.ok(&["rm", &stopped, &killed])?;
    sandbox.finish()
}

#[test]
fn processes_are_limited_unless_told_otherwise() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = boot(&mut sandbox, &[])?;
    let limits = &sandbox.status(&name)?["running"]["spec"]["limits"];
    let pids = limits["pids"].as_u64().context("reading the default")?;
    ensure!(
        (1..=16384).contains(&pids) && limits["pids_is_default"] == true,
        "{limits}"
    );
    ensure!(setting(&sandbox, &name, &["pids.max"])? == pids.to_string());
    let lifted = boot(&mut sandbox, &["--pids", "unlimited"])?;
    ensure!(setting(&sandbox, &lifted, &["pids.max"])? == "max");
    sandbox.ok(&["rm", "-f", &name, &lifted])?;
    sandbox.finish()
}

/// A machine that computes without end is held back, time and again.
#[test]
fn processors_are_limited() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = boot(&mut sandbox, &["--cpus", "0.2"])?;
    let quota = setting(&sandbox, &name, &["cpu.max", "cpu.cfs_quota_us"])?;
    ensure!(quota.starts_with("20000"), "{quota}");
    // The v1 controller's file has this name too, and only one that limits has this line.
    let throttled = || -> Result<u64> {
        let v1 = cgroup_file(&sandbox, &name, "cpu.cfs_quota_us").ok();
        let dir = match v1 {
            Some(file) => file,
            None => cgroup_file(&sandbox, &name, "cpu.max")?,
        };
        let stat = fs::read_to_string(dir.with_file_name("cpu.stat"))?;
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        line.with_context(|| format!("reading {stat:?}"))
    };
    let before = throttled()?;
    let mut busy = sandbox
        .command(&["exec", &name, "sh", "-c", "while :; do :; done"])?
        .stdin(Stdio::null())
        .spawn()?;
    let held_back = process::until("it is held back", LONG, || Ok(throttled()? >= before + 10));
    sandbox.ok(&["rm", "-f", &name])?;
    busy.wait()?;
    held_back?;
    sandbox.finish()
}

#[test]
fn disks_are_weighed() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = boot(&mut sandbox, &["--io-weight", "200"])?;
    let files = [
        "io.weight",
        "io.bfq.weight",
        "blkio.weight",
        "blkio.bfq.weight",
    ];
    let written: Vec<String> = files
        .iter()
        .filter_map(|file| setting(&sandbox, &name, &[file]).ok())
        .collect();
    // As they are converted for each file, and as each file shows it.
    let is_right =
        |value: &String| ["default 200", "109", "default 109", "1000"].contains(&value.as_str());
    ensure!(
        !written.is_empty() && written.iter().all(is_right),
        "{written:?}"
    );
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.finish()
}

/// In a mount namespace without cgroups, as on a host whose kernel lacks the controller: nothing starts.
#[test]
fn a_limit_that_cannot_be_kept_is_refused() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let without = |args: &[&str]| -> Result<_> {
        let mut command = Command::new("unshare");
        let script = "umount -R -l /sys/fs/cgroup; exec \"$0\" \"$@\"";
        command.args(["-m", "sh", "-c", script]).arg(binary()?);
        let own = sandbox.command(&[""])?;
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        process::run(command.args(args), b"", LONG)
    };
    for (option, value) in [
        ("--memory", "64M"),
        ("--cpus", "1"),
        ("--pids", "50"),
        ("--io-weight", "10"),
    ] {
        let name = sandbox.name();
        let done = without(&["boot", &tree, "-d", "-n", &name, option, value])?;
        let why = format!("{option} cannot be kept on this host: no cgroup hierarchy");
        ensure!(done.code == 3 && done.err().contains(&why), "{done}");
        ensure!(
            done.err().contains("unlimited"),
            "no way out is named: {done}"
        );
        ensure!(sandbox.row(&name)?.is_none(), "{name} was made");
    }
    // The default is no wish: it is done without.
    let done = without(&["run", &tree, "echo", "fine"])?;
    ensure!((done.code, done.out()) == (0, "fine\n".into()), "{done}");
    sandbox.finish()
}

#[test]
fn top_shows_who_uses_what() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let name = boot(&mut sandbox, &["--memory", "64M", "--pids", "60"])?;
    sandbox.exec(
        &name,
        &["dd", "if=/dev/zero", "of=/root/file", "bs=1M", "count=3"],
    )?;
    let table = sandbox.ok(&["top"])?;
    let row = table.lines().find(|line| line.starts_with(&name));
    let row = row.with_context(|| format!("looking for {name} in {table}"))?;
    ensure!(
        row.contains("of 64.0 MiB") && row.contains("of 60"),
        "{row}"
    );
    let document: Value = serde_json::from_str(&sandbox.ok(&["top", "--json", &name])?)?;
    let machine = &document["machines"][0];
    let number = |key: &str| machine[key].as_u64();
    ensure!(number("disk_bytes") >= Some(3 << 20), "{machine}");
    ensure!(
        number("cpu_us") > Some(0) && machine["cpu_percent"].is_number(),
        "{machine}"
    );
    let memory = number("memory_bytes").context("reading the memory")?;
    ensure!((1..=64 << 20).contains(&memory), "{machine}");
    let mut console = sandbox.console(&["top"])?;
    console.expect(Regex::new(&format!("{name} +running"))?, SHORT)?;
    console.expect(Regex::new("q: quit")?, SHORT)?;
    console.send("q")?;
    let status = console.wait_exit(SHORT)?;
    ensure!(status.code() == Some(0), "top ended with {status}");
    sandbox.ok(&["rm", "-f", &name])?;
    sandbox.expect(&["top", &name], 3)?;
    sandbox.finish()
}

/// An lxcfs of the test's own; ended and unmounted when dropped.
struct Lxcfs {
    child: Child,
    dir: PathBuf,
}

impl Lxcfs {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let dir = sandbox.dir().join("lxcfs");
        fs::create_dir(&dir)?;
        // Root of a machine is another user on the host, who has to get at the files.
        fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o711))?;
        let child = Command::new("lxcfs")
            .arg("-f")
            .arg("-p")
            .arg(sandbox.dir().join("lxcfs.pid"))
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting lxcfs (in Debian: apt-get install lxcfs)")?;
        let lxcfs = Self { child, dir };
        process::until("lxcfs is mounted", SHORT, || {
            Ok(lxcfs.dir.join("proc/meminfo").exists())
        })?;
        Ok(lxcfs)
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        // It unmounts itself, unless a machine was in the way.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).output();
    }
}

/// With lxcfs a machine sees its share in `/proc`, without one the host's figures, and both is said.
#[test]
fn a_machine_sees_its_share() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let tree = tree(&mut sandbox)?;
    let lxcfs = Lxcfs::start(&sandbox)?;
    let with = |args: &[&str], place: &str| -> Result<String> {
        let mut command = sandbox.command(args)?;
        let done = process::run(command.env("REPOT_LXCFS", place), b"", LONG)?;
        ensure!(done.code == 0, "{args:?}: {done}");
        Ok(done.out())
    };
    let place = utf8(&lxcfs.dir)?;
    let name = sandbox.name();
    with(
        &["boot", &tree, "-d", "-n", &name, "--memory", "256M"],
        &place,
    )?;
    let share = |sandbox: &Sandbox| -> Result<()> {
        let memory = sandbox.exec(&name, &["grep", "MemTotal", "/proc/meminfo"])?;
        ensure!(memory.contains(" 262144 kB"), "{memory}");
        let seconds = |text: String| -> Result<f64> {
            Ok(text.split('.').next().unwrap_or_default().parse()?)
        };
        let uptime = seconds(sandbox.exec(&name, &["cat", "/proc/uptime"])?)?;
        let host = seconds(fs::read_to_string("/proc/uptime")?)?;
        ensure!(uptime < host, "up for {uptime} s, the host for {host} s");
        for file in ["cpuinfo", "stat", "loadavg", "swaps", "diskstats"] {
            sandbox.exec(&name, &["cat", &format!("/proc/{file}")])?;
        }
        Ok(())
    };
    share(&sandbox)?;
    ensure!(
        sandbox
            .ok(&["status", &name])?
            .contains("the machine's share (cpuinfo")
    );
    sandbox.ok(&["reboot", "--wait", &name])?;
    share(&sandbox).context("after a reboot")?;
    sandbox.ok(&["rm", "-f", &name])?;

    let total = [
        "run",
        "--memory",
        "256M",
        &tree,
        "grep",
        "MemTotal",
        "/proc/meminfo",
    ];
    ensure!(with(&total, &place)?.contains(" 262144 kB"));
    ensure!(!with(&total, "/no/such/place")?.contains(" 262144 kB"));
    let plan = with(&["run", "--dry-run", &tree, "true"], "/no/such/place")?;
    ensure!(
        plan.contains("figures in /proc: those of the host"),
        "{plan}"
    );
    drop(lxcfs);
    // Its directory is still there, and nothing is mounted on it.
    ensure!(!with(&total, &place)?.contains(" 262144 kB"));
    sandbox.finish()
}
