//! What `repot export` writes is taken by the systems that it is for: loaded and booted by their own commands alone, logged in to,
//! stopped by their own stop. And what they save again comes back as the same tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use repot_e2e::console::Console;
use repot_e2e::daemon::Daemon;
use repot_e2e::trees::Tree;
use repot_e2e::{digest, process};
use repot_e2e::{incus, lxd};
use serde_json::Value;

use super::{daemons, instances};
use crate::boot::{BOOKWORM_SYSTEMD, BOOKWORM_SYSVINIT, BUSYBOX_ALPINE, SID_SYSTEMD};
use crate::life::Case;
use crate::sandbox::{LONG, Sandbox, utf8};
use crate::session;

/// Exports a tree whose root has a password; where to, and what repot says to that.
fn export(sandbox: &mut Sandbox, case: &Case, form: &str, name: &str) -> Result<(PathBuf, String)> {
    let tree = sandbox.base(Tree::named(case.tree)?.with_password())?;
    let out = sandbox.dir().join(name);
    let file = utf8(&out)?;
    let mut args = vec!["export", &tree, "--to", form, "--name", name, &file];
    // Compressing takes long in a test, and is tested elsewhere.
    if !matches!(form, "docker-archive" | "lxc" | "dir") {
        args.extend(["--compress", "none"]);
    }
    if form == "dir" {
        args.extend(["--for", "lxc"]);
    }
    let done = sandbox.expect(&args, 0)?;
    Ok((out, done.err()))
}

/// The same tree comes out of both.
fn same_tree(sandbox: &Sandbox, exported: &Path, saved: &Path) -> Result<()> {
    let mut digests = Vec::new();
    for file in [exported, saved] {
        let answer = sandbox.ok(&["import", &utf8(file)?, "--json"])?;
        let imported: Value = serde_json::from_str(&answer)?;
        let rootfs = imported["rootfs"].as_str().context("import --json")?;
        digests.push(digest::digest(Path::new(rootfs))?);
    }
    ensure!(
        digests[0] == digests[1],
        "{} came back as another tree",
        saved.display()
    );
    Ok(())
}

fn log_in(case: &Case, console: &mut Console) -> Result<()> {
    session::login(console)?;
    super::is_root_there(case, console)?;
    if case.comm == "systemd" {
        let said = console.run("systemctl is-system-running --wait", LONG)?;
        ensure!(
            said.lines().any(|line| line == "running"),
            "systemd says {said:?}"
        );
    }
    Ok(())
}

/// The command that repot has told, with the name of the container and what the host asks for, as words.
fn told(said: &str, engine: &str, with: &[&str]) -> Result<Vec<String>> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("repot: to boot it: "))
        .with_context(|| format!("no command in {said}"))?;
    let (head, rest) = line
        .strip_prefix(&format!("{engine} run -it"))
        .map(|rest| ([engine, "run", "-it"], rest))
        .with_context(|| format!("another command: {line}"))?;
    let words = head.into_iter().chain(with.iter().copied());
    Ok(words
        .chain(rest.split_whitespace())
        .map(str::to_owned)
        .collect())
}

fn console(daemon: &Daemon, words: &[String]) -> Result<Console> {
    let (program, args) = words.split_first().context("reading a command")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(daemon.env().iter().map(|(name, value)| (name, value)));
    Console::spawn(&command)
}

/// Docker and Podman: what was exported for them, run as repot says.
fn in_containers(sandbox: &mut Sandbox, daemon: &Daemon, engine: &str, case: &Case) -> Result<()> {
    let (form, options, limits): (_, &[&str], &[&str]) = match engine {
        "docker" => ("docker-archive", &[], &[]),
        // crun runs on no hybrid host, and there is no systemd to ask for a scope.
        _ => (
            "oci-archive",
            &["--runtime=runc", "--cgroup-manager=cgroupfs"],
            // Whoever may not raise limits may not raise them to Podman's million.
            &["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"],
        ),
    };
    let name = sandbox.name();
    let (file, said) = export(sandbox, case, form, &name)?;
    daemon.ask(&[engine, "load", "-q", "-i", &utf8(&file)?])?;
    if case.comm != "systemd" {
        let saved = sandbox.dir().join("saved.tar");
        daemon.ask(&[engine, "save", &name, "-o", &utf8(&saved)?])?;
        same_tree(sandbox, &file, &saved)?;
    }

    let with = [&["--network=none", "--name", &name], limits].concat();
    let mut words = told(&said, engine, &with)?;
    words.splice(1..1, options.iter().map(|word| (*word).to_owned()));
    let mut console = console(daemon, &words)?;
    log_in(case, &mut console).with_context(|| format!("{words:?}"))?;
    let engine_words: Vec<&str> = std::iter::once(engine)
        .chain(options.iter().copied())
        .collect();
    let ask = |words: &[&str]| daemon.ask(&[&engine_words[..], words].concat());
    ask(&["stop", "-t", "55", &name])?;
    console.wait_exit(LONG)?;
    // SIGINT, by which reboot(2) ends PID 1 for a power-off; 137 is SIGKILL.
    let code = ask(&["inspect", "--format={{.State.ExitCode}}", &name])?;
    ensure!(code.trim() == "130", "PID 1 has ended with {code}");
    ask(&["rm", &name])?;
    ask(&["rmi", &name])?;
    Ok(())
}

#[test]
fn by_docker() -> Result<()> {
    daemons::with("docker", |sandbox, daemon| {
        in_containers(sandbox, daemon, "docker", &BUSYBOX_ALPINE)?;
        in_containers(sandbox, daemon, "docker", &BOOKWORM_SYSTEMD)
    })
}

#[test]
fn by_podman() -> Result<()> {
    daemons::with("podman", |sandbox, daemon| {
        in_containers(sandbox, daemon, "podman", &BUSYBOX_ALPINE)?;
        in_containers(sandbox, daemon, "podman", &BOOKWORM_SYSTEMD)
    })
}

#[test]
fn by_containerd() -> Result<()> {
    daemons::with("containerd", |sandbox, daemon| {
        for case in [&BUSYBOX_ALPINE, &BOOKWORM_SYSTEMD] {
            let name = sandbox.name();
            let (file, said) = export(sandbox, case, "oci-archive", &name)?;
            daemon.ask(&["ctr", "images", "import", &utf8(&file)?])?;
            let image = format!("{name}:latest");
            if case.comm != "systemd" {
                let saved = sandbox.dir().join("saved.tar");
                daemon.ask(&["ctr", "images", "export", &utf8(&saved)?, &image])?;
                same_tree(sandbox, &file, &saved)?;
            }

            // The same capabilities, in ctr's words.
            let mut words = ["ctr", "run", "--tty", "--rm"].map(str::to_owned).to_vec();
            let podman = told(&said, "podman", &[])?;
            let capabilities = podman.iter().skip_while(|word| *word != "--cap-add");
            for word in capabilities.filter(|word| !word.contains(':')) {
                words.push(match word.starts_with("--") {
                    true => word.clone(),
                    false => format!("CAP_{word}"),
                });
            }
            words.extend([image.clone(), name.clone()]);
            let mut console = console(daemon, &words)?;
            log_in(case, &mut console).with_context(|| format!("{words:?}"))?;
            // With the image's own signal.
            daemon.ask(&["ctr", "tasks", "kill", &name])?;
            let status = console.wait_exit(LONG)?;
            ensure!(status.code() == Some(130), "it has ended with {status}");
            daemon.ask(&["ctr", "images", "remove", "--sync", &image])?;
        }
        Ok(())
    })
}

/// LXD and Incus: imported and started as anybody would.
fn in_instances(client: &str, start: instances::Start, cases: &[(&Case, &str)]) -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let daemon = start(&sandbox.dir().join("instances"))?;
    let command = |words: &[&str]| {
        // By env(1), which finds Incus' client in what the variables say.
        let mut command = Command::new("env");
        let env = daemon.env();
        command.args(env.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(client).args(words);
        command
    };
    let ask = |words: &[&str]| {
        let done = process::run(&mut command(words), b"", LONG)?;
        ensure!(done.code == 0, "{client} {words:?}: {done}");
        Ok(done.out())
    };
    for (case, form) in cases.iter().copied() {
        let name = sandbox.name();
        let (out, _) = export(&mut sandbox, case, form, &name)?;
        let files = match form {
            "lxd" => vec![utf8(&out)?],
            _ => vec![
                utf8(&out.join("metadata.tar"))?,
                utf8(&out.join("rootfs.tar"))?,
            ],
        };
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let import = [
            &["image", "import"],
            &files[..],
            &["local:", "--alias", &name],
        ]
        .concat();
        ask(&import)?;
        ask(&["init", &name, &name])?;
        let mut console = Console::spawn(&command(&["start", &name, "--console"]))?;
        session::wake(&mut console)?;
        log_in(case, &mut console).with_context(|| format!("{form} of {}", case.tree))?;
        ask(&["stop", &name, "--timeout", "60"])?;
        console.wait_exit(LONG)?;
        ask(&["delete", &name])?;
        ask(&["image", "delete", &name])?;
    }
    drop(daemon);
    sandbox.finish()
}

#[test]
fn by_lxd() -> Result<()> {
    let cases = [
        (&BOOKWORM_SYSVINIT, "lxd-split"),
        (&BOOKWORM_SYSTEMD, "lxd"),
        // Looks for the console of the host's kernel.
        (&SID_SYSTEMD, "lxd"),
    ];
    in_instances("lxc", lxd::start, &cases)
}

#[test]
fn by_incus() -> Result<()> {
    let cases = [(&BUSYBOX_ALPINE, "lxd-split"), (&SID_SYSTEMD, "lxd")];
    in_instances("incus", incus::start, &cases)
}

#[test]
fn by_lxc() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let folder = sandbox.dir().join("containers");
    let config = sandbox.dir().join("default.conf");
    fs::create_dir(&folder)?;
    fs::write(&config, "lxc.net.0.type = empty\n")?;
    let config = utf8(&config)?;
    for (case, form) in [(&BUSYBOX_ALPINE, "lxc"), (&BOOKWORM_SYSTEMD, "dir")] {
        let name = sandbox.name();
        let (out, _) = export(&mut sandbox, case, form, &name)?;
        let tool = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command
                .arg("-P")
                .arg(&folder)
                .args(["-n", &name])
                .args(args);
            command
        };
        if form == "lxc" {
            let (meta, rootfs) = (
                utf8(&out.join("meta.tar.xz"))?,
                utf8(&out.join("rootfs.tar.xz"))?,
            );
            let template = ["-t", "local", "--", "-m", &meta, "-f", &rootfs];
            let mut create = tool("lxc-create", &[&["-f", &config][..], &template].concat());
            let done = process::run(&mut create, b"", LONG)?;
            ensure!(done.code == 0, "lxc-create: {done}");
        } else {
            let path = utf8(&out)?;
            let text = format!(
                "lxc.include = /usr/share/lxc/config/common.conf\nlxc.net.0.type = empty\n\
                 lxc.uts.name = {name}\nlxc.rootfs.path = dir:{path}\nlxc.tty.dir =\n"
            );
            fs::create_dir(folder.join(&name))?;
            fs::write(folder.join(&name).join("config"), text)?;
        }
        let mut console = Console::spawn(&tool("lxc-start", &["-F"]))?;
        log_in(case, &mut console).context(case.tree)?;
        let done = process::run(&mut tool("lxc-stop", &["-t", "60"]), b"", LONG)?;
        ensure!(done.code == 0, "lxc-stop: {done}");
        console.wait_exit(LONG)?;
    }
    sandbox.finish()
}

/// The archive unpacked by tar, the settings file beside it, and nothing but that.
#[test]
fn by_nspawn() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    for case in [&BUSYBOX_ALPINE, &BOOKWORM_SYSTEMD] {
        let name = sandbox.name();
        let (out, _) = export(&mut sandbox, case, "nspawn", &name)?;
        let root = out.join(&name);
        fs::create_dir(&root)?;
        let archive = out.join(format!("{name}.tar"));
        let mut unpack = Command::new("tar");
        unpack
            .args(["--xattrs", "--xattrs-include=*", "-xpf"])
            .arg(&archive)
            .arg("-C")
            .arg(&root);
        let done = process::run(&mut unpack, b"", LONG)?;
        ensure!(done.code == 0, "tar: {done}");
        let mut start = Command::new("systemd-nspawn");
        start
            .arg("-D")
            .arg(&root)
            // There is no systemd around that it could be registered with.
            .args(["--register=no", "--keep-unit", "--link-journal=no"]);
        let mut console = Console::spawn(&start)?;
        log_in(case, &mut console).context(case.tree)?;
        // What `systemctl stop` and `machinectl stop` come to.
        let pid = i32::try_from(console.pid())?;
        let pid = rustix::process::Pid::from_raw(pid).context("reading a PID")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = console.wait_exit(LONG)?;
        ensure!(status.code() == Some(0), "nspawn has ended with {status}");
        fs::remove_dir_all(&out)?;
    }
    sandbox.finish()
}
