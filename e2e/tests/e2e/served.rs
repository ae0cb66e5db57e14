//! Without root, where the kernel has no overlay: fuse-overlayfs serves a machine's files, and ends with it, however that ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use repot_e2e::process;
use repot_e2e::trees::Tree;
use repot_e2e::user::User;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::boot;
use crate::life::attended_in;
use crate::rootless::{tarball, whole_life};
use crate::sandbox::{LONG, SHORT, Sandbox, utf8};

/// Where a user keeps state: on an overlay, which takes no writes of another one, or on a file system without extended attributes,
/// where an overlay could not tell that a directory was replaced.
#[derive(Debug, Clone, Copy)]
enum Place {
    Overlay,
    Ramfs,
}

/// A sandbox of a user who has that, and `/dev/fuse` as udev makes it.
fn sandbox(place: Place) -> Result<Sandbox> {
    let user = User::with_subordinate_ids()?;
    let mut sandbox = Sandbox::of_user(&user)?;
    let dir = utf8(sandbox.dir())?;
    for name in ["data", "lower", "upper", "work"] {
        let path = sandbox.dir().join(name);
        fs::create_dir(&path)?;
        chown(&path, Some(user.uid), Some(user.gid))?;
    }
    let mount = match place {
        Place::Overlay => format!(
            "mount -t overlay overlay -o lowerdir={dir}/lower,upperdir={dir}/upper,workdir={dir}/work {dir}/data"
        ),
        Place::Ramfs => format!(
            "mount -t ramfs ramfs {dir}/data && chown {}:{} {dir}/data",
            user.uid, user.gid
        ),
    };
    sandbox.on_a_lasting_host(&format!(
        "{mount} && mknod -m 666 {dir}/fuse c 10 229 && chmod 666 {dir}/fuse && \
         {{ [ -e /dev/fuse ] || touch /dev/fuse; }} && mount --bind {dir}/fuse /dev/fuse"
    ))?;
    Ok(sandbox)
}

fn busybox(sandbox: &Sandbox) -> Result<String> {
    let image = sandbox.ok(&["import", &tarball(&boot::BUSYBOX_ALPINE)?])?;
    Ok(image.trim().to_owned())
}

/// What serves a machine's files, if something does.
fn server(sandbox: &Sandbox, name: &str) -> Result<Option<Pid>> {
    let server = &sandbox.status(name)?["running"]["file_server"]["pid"];
    let server = server.as_i64().map(i32::try_from).transpose()?;
    Ok(server.and_then(Pid::from_raw))
}

fn pid(value: &Value) -> Result<Pid> {
    let pid = value.as_i64().map(i32::try_from).transpose()?;
    pid.and_then(Pid::from_raw).context("reading a PID")
}

fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // Nobody may be there to reap what lost its parent.
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// Import, boot to a login, sessions, reboot, power-off, removal.
#[test]
fn busybox_lives() -> Result<()> {
    let sandbox = sandbox(Place::Overlay)?;
    whole_life(&sandbox, &boot::BUSYBOX_ALPINE)?;
    sandbox.finish()
}

#[test]
fn sysvinit_lives() -> Result<()> {
    let sandbox = sandbox(Place::Overlay)?;
    let image = sandbox.ok(&["import", &tarball(&boot::BOOKWORM_SYSVINIT)?])?;
    attended_in(&sandbox, &boot::BOOKWORM_SYSVINIT, image.trim())?;
    sandbox.ok(&["images", "--rm", image.trim()])?;
    sandbox.finish()
}

/// What is written, deleted and replaced is so at the next boot and in an export; owners and set-uid bits are kept. The machine
/// sees neither the server nor its device.
#[test]
fn writes_last() -> Result<()> {
    let sandbox = sandbox(Place::Overlay)?;
    let image = busybox(&sandbox)?;
    let name = sandbox.name();
    sandbox.ok(&["boot", &image, "-d", "-n", &name])?;
    let first = server(&sandbox, &name)?.context("finding the server")?;
    let warnings = sandbox.status(&name)?["running"]["warnings"].to_string();
    ensure!(
        warnings.contains("fuse-overlayfs serves the files, which is slower"),
        "{warnings}"
    );
    let write = "rm /etc/hosts && rm -r /etc/init.d && mkdir /etc/init.d && echo new >/etc/init.d/new &&
        cp /bin/busybox /root/su && chown 4711:4712 /root/su && chmod 4755 /root/su && echo x >>/etc/issue;
        [ ! -e /dev/fuse ] && grep ' / ' /proc/mounts; cat /proc/[0-9]*/comm";
    let said = sandbox.exec(&name, &["sh", "-c", write])?;
    ensure!(
        said.starts_with("fuse-overlayfs / fuse.fuse-overlayfs rw")
            && said.matches("fuse").count() == 3,
        "{said}"
    );
    sandbox.ok(&["reboot", "--wait", &name])?;
    let second = server(&sandbox, &name)?.context("finding the server again")?;
    ensure!(first != second && is_gone(first), "one server at a time");
    let look = "ls /etc/hosts /etc/init.d 2>&1; stat -c '%u:%g %a' /root/su; tail -n 1 /etc/issue; touch /etc/more";
    let expected =
        "ls: /etc/hosts: No such file or directory\n/etc/init.d:\nnew\n4711:4712 4755\nx";
    let said = sandbox.exec(&name, &["sh", "-c", look])?;
    ensure!(said == expected, "after a reboot: {said}");
    sandbox.ok(&["stop", &name])?;
    ensure!(is_gone(second), "the server has outlived the machine");
    let said = sandbox.ok(&["run", &name, "sh", "-c", look])?;
    ensure!(said.trim_end() == expected, "after a stop: {said}");
    let out = utf8(&sandbox.dir().join("x.tar"))?;
    sandbox.ok(&["export", &name, "--to", "tar", &out])?;
    let list = process::run(Command::new("tar").args(["-tf", &out]), b"", SHORT)?;
    let names = list.out();
    ensure!(
        names.contains("./etc/init.d/new\n") && names.contains("./etc/more\n"),
        "{names}"
    );
    for gone in ["./etc/hosts\n", "rcS", ".wh."] {
        ensure!(!names.contains(gone), "{gone:?} was exported: {names}");
    }
    // Nothing is written where an overlay cannot be.
    sandbox.ok(&["boot", &image, "-d", "-x", "-n", &sandbox.name()])?;
    ensure!(server(&sandbox, &sandbox.last_name())?.is_none());
    sandbox.ok(&["stop", &sandbox.last_name()])?;
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// A machine ends with its server, and says why; a server ends with its supervisor. Nothing is left, and it boots again.
#[test]
fn each_ends_with_the_other() -> Result<()> {
    let sandbox = sandbox(Place::Overlay)?;
    let image = busybox(&sandbox)?;
    let name = sandbox.name();
    let mut console = sandbox.console(&["boot", &image, "-n", &name])?;
    console.expect("login:", LONG)?;
    kill_process(
        server(&sandbox, &name)?.context("finding the server")?,
        Signal::KILL,
    )?;
    let status = console.wait_exit(SHORT)?;
    let text = console.text();
    let reason = "fuse-overlayfs, which serves the machine's files, has ended (signal 9)";
    ensure!(
        status.code() == Some(3) && text.replace("\r\n", "").contains(reason),
        "{status}: {text}"
    );
    let stopped = sandbox.status(&name)?;
    ensure!(
        stopped["running"].is_null() && stopped["last_run"]["reason"] == reason,
        "{stopped}"
    );
    sandbox.ok(&["boot", &name, "-d"])?;
    let running = sandbox.status(&name)?["running"].clone();
    let server = server(&sandbox, &name)?.context("finding the server")?;
    kill_process(pid(&running["supervisor_pid"])?, Signal::KILL)?;
    process::until("the server has died with the supervisor", SHORT, || {
        Ok(is_gone(server))
    })?;
    process::until("the machine has stopped", SHORT, || {
        Ok(sandbox.state(&name)? == "stopped")
    })?;
    // A command in the foreground is its own supervisor.
    let mut child = sandbox.command(&["run", &name, "sleep", "1000"])?.spawn()?;
    let ran = || -> Result<i32> {
        let mut found = None;
        process::until("the server of `run` is there", SHORT, || {
            let state = fs::read(sandbox.running().join(&name).join("state.json"));
            let state: Value =
                serde_json::from_slice(&state.unwrap_or_default()).unwrap_or_default();
            found = pid(&state["file_server"]["pid"]).ok();
            Ok(found.is_some())
        })?;
        kill_process(found.context("finding the server")?, Signal::KILL)?;
        Ok(process::wait(&mut child, SHORT)?.code().unwrap_or_default())
    }();
    ensure!(matches!(ran, Ok(125)), "{ran:?}");
    // Who waits for a server that was stopped cannot die.
    sandbox.ok(&["boot", &name, "-d"])?;
    let busy = "echo busy; while :; do echo x >/root/x; rm /root/x; done";
    let mut waits = sandbox
        .command(&["exec", &name, "sh", "-c", busy])?
        .stdout(Stdio::piped())
        .spawn()?;
    let output = waits.stdout.take().context("reading from `exec`")?;
    BufReader::new(output).read_line(&mut String::new())?;
    let stopped = self::server(&sandbox, &name)?.context("finding the server")?;
    kill_process(stopped, Signal::STOP)?;
    sandbox.ok(&["kill", &name])?;
    process::wait(&mut waits, SHORT)?;
    ensure!(sandbox.status(&name)?["last_run"]["reason"].is_null());
    sandbox.ok(&["rm", &name])?;
    sandbox.finish()
}

/// Without fuse-overlayfs, a file system that takes no overlay is refused with the package; one without attributes is done with.
#[test]
fn what_is_missing_is_said() -> Result<()> {
    let run = |sandbox: &Sandbox, path: &Path, command: &str| {
        // A directory: an import asks for room, of which ramfs says that it has none.
        let tree = sandbox.dir().join("tree");
        if !tree.exists() {
            Tree::named("busybox-alpine")?.copy_to(&tree)?;
            let user = User::with_subordinate_ids()?;
            let owner = format!("{}:{}", user.uid, user.gid);
            let done = process::run(
                Command::new("chown").args(["-hR", &owner]).arg(&tree),
                b"",
                SHORT,
            )?;
            ensure!(done.code == 0, "{done}");
        }
        let tree = utf8(&tree)?;
        let args = ["run", "-n", "kept", &tree, "sh", "-c", command];
        let mut command = sandbox.command(&args)?;
        command.env("PATH", path);
        process::run(&mut command, b"", LONG)
    };
    let programs = tempfile::tempdir()?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(programs.path(), open)?;
    for program in ["newuidmap", "newgidmap"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), programs.path().join(program))?;
    }
    let on_overlay = sandbox(Place::Overlay)?;
    let done = run(&on_overlay, programs.path(), "true")?;
    ensure!(
        done.code == 125 && done.err().contains("apt-get install fuse-overlayfs"),
        "{done}"
    );
    ensure!(on_overlay.names()?.is_empty());
    on_overlay.finish()?;

    let on_ramfs = sandbox(Place::Ramfs)?;
    let root = "grep ' / ' /proc/mounts; ls /etc/init.d";
    let done = run(&on_ramfs, programs.path(), root)?;
    ensure!(done.out().starts_with("overlay / overlay "), "{done}");
    on_ramfs.ok(&["rm", "kept"])?;
    // The kernel's overlay answers the first of these with EIO here.
    let replace = format!("rm -r /etc/init.d && mkdir /etc/init.d && {root}");
    let done = run(&on_ramfs, Path::new("/usr/bin"), &replace)?;
    ensure!(
        done.out().starts_with("fuse-overlayfs / ") && !done.out().contains("rcS"),
        "{done}"
    );
    on_ramfs.ok(&["rm", "kept"])?;
    on_ramfs.finish()
}
