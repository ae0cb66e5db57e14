//! Sessions in a machine: who, with which environment, on which terminal, by which program.

use crate::output;
use anyhow::{Context, anyhow};
use repot_doctor::accounts::{self, UserEntry};
use repot_model::{Facts, HintExt, LoginStack, MachineName, RuntimeState, TerminalRole};
use repot_rootfs::RootRead;
use repot_runtime::{
    Dirs, Error, Join, JoinStdio, Joined, Leader, Remote, SessionEnd, file_server, join, registry,
    session,
};
use rustix::io::Errno;
use std::path::PathBuf;

/// A running machine and its tree as it is now.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) state: RuntimeState,
    pub(crate) root: RootRead,
}

/// Opens a machine that runs.
pub(crate) fn running(dirs: &Dirs, name: &MachineName) -> anyhow::Result<Running> {
    let state = state(dirs, name)?;
    file_server::reach_files(&state)?;
    // The root as the machine's own first process sees it. What is read there stays beneath it, whatever its links say.
    let path = PathBuf::from(format!("/proc/{}/root", state.leader_pid));
    let root = RootRead::open(&path).with_context(|| format!("opening the tree of {name}"))?;
    // The number may have come to mean another process before it was opened.
    Leader::of(&state)?;
    Ok(Running { state, root })
}

/// The state of a machine that runs, or an error that says what to do.
pub(crate) fn state(dirs: &Dirs, name: &MachineName) -> anyhow::Result<RuntimeState> {
    if let Some(state) = registry::running(dirs, name) {
        return Ok(state);
    }
    if registry::foreign(dirs, name).is_some() {
        return Err(registry::not_running(dirs, name))
            .hint(format!(
                "`repot stop {name}` and `repot kill {name}` work all the same; then `repot boot {name}` starts it anew"
            ))
            .map_err(Into::into);
    }
    registry::collect_orphan(dirs, name);
    if registry::record(dirs, name)?.is_some() {
        return Err(repot_runtime::Error::NotRunning(name.clone()))
            .hint(format!("`repot boot {name}` starts it"))
            .map_err(Into::into);
    }
    Err(repot_runtime::Error::NoSuchMachine(name.clone()))
        .hint("`repot list` shows what there is")
        .map_err(Into::into)
}

impl Running {
    pub(crate) fn facts(&self) -> anyhow::Result<Facts> {
        repot_doctor::inspect(&self.root)
            .with_context(|| format!("inspecting {}", self.state.spec.name))
    }

    /// An account of the machine. Root exists even where passwd(5) does not say so.
    pub(crate) fn user(&self, name: &str) -> anyhow::Result<UserEntry> {
        if let Some(user) = accounts::user(&self.root, name)? {
            return Ok(user);
        }
        if name == "root" || name == "0" {
            return Ok(UserEntry {
                name: "root".into(),
                uid: 0,
                gid: 0,
                groups: Vec::new(),
                home: "/root".into(),
                shell: "/bin/sh".into(),
            });
        }
        Err(anyhow!("{} has no user {name:?}", self.state.spec.name))
    }

    /// What login(1) would set for a user, before the shell reads its own files.
    pub(crate) fn environment(
        &self,
        user: &UserEntry,
        extra: &[String],
    ) -> anyhow::Result<Vec<(String, String)>> {
        let mut env: Vec<(String, String)> = accounts::environment(&self.root).unwrap_or_default();
        let mut set = |name: &str, value: String| {
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value));
        };
        set("HOME", user.home.clone());
        set("SHELL", user.shell.clone());
        set("USER", user.name.clone());
        set("LOGNAME", user.name.clone());
        set("TERM", term(&self.root));
        if let Some(path) = self.path(user)? {
            set("PATH", path);
        }
        for text in extra {
            let (name, value) = crate::machines::variable(text)?;
            set(&name, value);
        }
        Ok(env)
    }

    /// The search path: login.defs(5), else the usual, with the profile of Guix System or NixOS in front if there is one.
    fn path(&self, user: &UserEntry) -> anyhow::Result<Option<String>> {
        const SYSTEM: &[&str] = &[
            "/run/wrappers/bin",
            "/run/privileged/bin",
            "/run/setuid-programs",
            "/run/current-system/sw/bin",
        ];
        const PROFILE: &[&str] = &[
            "/run/current-system/profile/bin",
            "/run/current-system/profile/sbin",
            "/run/current-system/sw/sbin",
        ];
        let mut dirs: Vec<String> = SYSTEM
            .iter()
            .chain(PROFILE)
            .filter(|dir| self.root.is_dir(dir))
            .map(|dir| (*dir).to_owned())
            .collect();
        let usual = accounts::login_path(&self.root, user.uid)?.unwrap_or_else(|| match user.uid {
            0 => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            _ => "/usr/local/bin:/usr/bin:/bin".into(),
        });
        dirs.push(usual);
        Ok(Some(dirs.join(":")))
    }

    /// A shell that can be executed: the user's, else any.
    pub(crate) fn shell_of(&self, user: &UserEntry) -> anyhow::Result<String> {
        const SHELLS: &[&str] = &[
            "/bin/bash",
            "/bin/sh",
            "/run/current-system/profile/bin/bash",
            "/run/current-system/sw/bin/bash",
            "/usr/bin/sh",
        ];
        if self.root.is_executable(&user.shell) {
            return Ok(user.shell.clone());
        }
        let found = SHELLS.iter().find(|shell| self.root.is_executable(shell));
        let found = found.ok_or_else(|| {
            anyhow!(
                "{} has no shell: neither {} nor /bin/sh can be executed",
                self.state.spec.name,
                user.shell
            )
        })?;
        output::note(format!(
            "repot: {}'s shell, {}, cannot be executed; this is {found}",
            user.name, user.shell
        ));
        Ok((*found).to_owned())
    }

    /// The command that lets a user in without asking: the distribution's login, so that PAM, utmp and the message of the day
    /// have their turn; where there is none, the user's shell.
    pub(crate) fn login_command(&self, user: &UserEntry) -> anyhow::Result<Join> {
        let facts = self.facts()?;
        let env = vec![
            ("TERM".to_owned(), term(&self.root)),
            ("PATH".to_owned(), self.path(user)?.unwrap_or_default()),
        ];
        match (&facts.login.login, facts.login.stack) {
            (
                Some(login),
                LoginStack::UtilLinux
                | LoginStack::Shadow
                | LoginStack::Busybox
                | LoginStack::Toybox
                | LoginStack::Unknown,
            ) => Ok(as_root(
                vec![login.clone(), "-f".into(), user.name.clone()],
                env,
            )),
            (None, _) | (_, LoginStack::None) => self.shell_command(user, &[], &[]),
        }
    }

    /// The command that asks for name and password on the new terminal.
    pub(crate) fn prompt_command(&self) -> anyhow::Result<Join> {
        let facts = self.facts()?;
        let term = term(&self.root);
        let env = vec![
            ("TERM".to_owned(), term.clone()),
            (
                "PATH".to_owned(),
                self.path(&self.user("root")?)?.unwrap_or_default(),
            ),
        ];
        let argv = repot_doctor::getty_argv(&facts, "-", &term)
            .or_else(|| facts.login.login.clone().map(|login| vec![login]))
            .ok_or_else(|| {
                anyhow!(
                    "{} has neither a getty nor a login program",
                    self.state.spec.name
                )
            })
            .hint(format!(
                "`repot shell {}` opens a shell without them",
                self.state.spec.name
            ))?;
        let mut command = as_root(argv, env);
        command.stdio = JoinStdio::Pty {
            stderr: None,
            name: self.secure_tty(&facts),
        };
        Ok(command)
    }

    /// A name for a new terminal on which root may log in, where not every name will do (securetty(5); busybox looks there
    /// by itself, others through PAM): one that the machine has not, else one where nobody listens.
    fn secure_tty(&self, facts: &Facts) -> Option<String> {
        let listed = facts.login.securetty.as_ref()?;
        if listed.iter().any(|name| name.starts_with("pts/")) {
            return None;
        }
        let is_ours = |name: &&String| {
            name.chars().all(|c| c.is_ascii_alphanumeric()) && *name != "console" && *name != "tty1"
        };
        let is_new = |name: &&String| self.root.symlink_metadata(&format!("/dev/{name}")).is_err();
        let gettys = facts
            .init
            .as_ref()
            .map_or(&[][..], |init| init.gettys.as_slice());
        let is_idle = |name: &&String| {
            let is_terminal = self.state.spec.terminals.iter().any(|terminal| {
                terminal.role == TerminalRole::Idle && terminal.names.contains(name)
            });
            is_terminal && !gettys.iter().any(|getty| getty.tty == **name)
        };
        let mut ours = listed.iter().filter(is_ours);
        ours.clone()
            .find(is_new)
            .or_else(|| ours.find(is_idle))
            .cloned()
    }

    /// A user's login shell, with a command for it or without.
    pub(crate) fn shell_command(
        &self,
        user: &UserEntry,
        extra: &[String],
        command: &[String],
    ) -> anyhow::Result<Join> {
        let shell = self.shell_of(user)?;
        // A leading dash makes a login shell of every shell (login(1)); -l does so for a shell with -c.
        let name = shell.rsplit('/').next().unwrap_or("sh");
        let mut argv = vec![format!("-{name}")];
        if !command.is_empty() {
            argv.extend(["-c".to_owned(), quoted(command)]);
        }
        Ok(Join {
            argv,
            program: Some(shell),
            env: self.environment(user, extra)?,
            cwd: user.home.clone(),
            cwd_or_root: true,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            stdio: JoinStdio::Pty {
                stderr: None,
                name: None,
            },
        })
    }
}

/// One word stands for itself, so that `shell NAME 'a; b'` works as with ssh(1); several keep their borders.
fn quoted(command: &[String]) -> String {
    match command {
        [one] => one.clone(),
        several => several
            .iter()
            .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn as_root(argv: Vec<String>, env: Vec<(String, String)>) -> Join {
    Join {
        argv,
        program: None,
        env,
        cwd: "/".into(),
        cwd_or_root: true,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        stdio: JoinStdio::Pty {
            stderr: None,
            name: None,
        },
    }
}

/// A value for `TERM` that the tree knows: the user's own if its terminfo has it, else the nearest.
pub(crate) fn term(root: &RootRead) -> String {
    let wanted = std::env::var("TERM").ok().filter(|term| {
        !term.is_empty() && term != "dumb" && term.chars().all(|c| c.is_ascii_graphic() && c != '/')
    });
    repot_doctor::known_term(root, wanted.as_deref().unwrap_or("vt220"))
}

/// Starts a session on a pty and joins the user's terminal to it until it ends. The status of its program.
pub(crate) fn interact(joined: Joined) -> anyhow::Result<u8> {
    let Some(master) = &joined.master else {
        return Ok(joined.wait()?);
    };
    match session(Remote::Pty {
        master,
        process: joined.pidfd(),
    })? {
        SessionEnd::Closed | SessionEnd::Ended(_) => Ok(joined.wait()?),
        SessionEnd::Detached => Ok(0),
        SessionEnd::Signal(signal) => Ok(u8::try_from(128 + signal).unwrap_or(255)),
    }
}

/// Starts a program in the machine.
pub(crate) fn enter(state: &RuntimeState, command: &Join) -> anyhow::Result<Joined> {
    let name = &state.spec.name;
    match join(state, command) {
        // fork(2): the one way in which a program that is there fails so is a limit of processes.
        Err(error) if matches!(error, Error::Exec { errno, .. } if errno == Errno::AGAIN) => {
            let hint = format!(
                "{name} has as many processes as it may have (limits: {}): `repot stop {name}` ends it all the same, `repot boot {name} --pids NUMBER` gives it more",
                state.spec.limits
            );
            Err(error).hint(hint).map_err(Into::into)
        }
        other => Ok(other?),
    }
}

/// Joins and interacts.
pub(crate) fn start(state: &RuntimeState, command: &Join) -> anyhow::Result<u8> {
    interact(enter(state, command)?)
}
