//! Without root: a user namespace in which the user is root, with subordinate IDs for everybody else, as podman makes it.
//!
//! Commands that unpack, remove or start trees go on in such a namespace, one of their own each, and a machine's namespace is
//! made inside its starter's. Commands that enter a running machine need none: whoever made a user namespace has all
//! privileges over it and those below it, from outside (user_namespaces(7), "Capabilities", rule 3). So no namespace has to
//! be kept alive or found again. ADR 0011.

mod subids;

use crate::dirs::Dirs;
use crate::own_program;
use repot_model::Hinted;
use repot_sys::{Cloned, Namespaces, clone_process, unshare};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, WaitOptions};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use subids::User;

/// The programs that write the maps: they are set-uid root and check `/etc/subuid` and `/etc/subgid`.
const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Starts this command anew as root of a user namespace with the user's subordinate IDs. Returns only if that fails.
///
/// Must be called before the process has threads, or anything that it would miss: the program starts from its beginning.
pub fn enter(dirs: &Dirs) -> Hinted {
    let caller = format!(
        "{}:{}",
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    // Asked before owners look different.
    let is_exposed = own_program::is_exposed();
    match namespace().and_then(|()| own_program::to_execute(is_exposed)) {
        Err(error) => error,
        Ok(program) => {
            let mut command = own_program::again(&program);
            // In there it looks like root, whose directories are others.
            command
                .env("REPOT_DATA_DIR", &dirs.data)
                .env("REPOT_RUN_DIR", &dirs.run)
                // For what asks whether it is root of the host, which it cannot see: an unprivileged container looks the same.
                // Taken before the namespace was made.
                .env("REPOT_ROOTLESS", caller);
            problem(
                format!(
                    "starting repot again in a user namespace: {}",
                    command.exec()
                ),
                "is the program still where it was?",
            )
        }
    }
}

/// Refuses a run-time directory that somebody else could have put there: in `/tmp`, anybody may make one of any name.
///
/// # Errors
/// It cannot be made, is not the caller's, or others may write to it.
pub fn check_run_dir(dirs: &Dirs) -> Result<(), Hinted> {
    let hint = "set XDG_RUNTIME_DIR or REPOT_RUN_DIR to a directory that is yours alone";
    crate::registry::make_private_dir(&dirs.run).map_err(|error| Hinted {
        hint: hint.into(),
        source: error.into(),
    })?;
    let own = rustix::process::geteuid().as_raw();
    // The fallback is two levels deep, and either could be a stranger's.
    let of_ours = dirs.run.parent().filter(|parent| {
        parent
            .file_name()
            .is_some_and(|name| name == Dirs::fallback_name(own).as_str())
    });
    for dir in of_ours.into_iter().chain([dirs.run.as_path()]) {
        let is_ours = std::fs::symlink_metadata(dir)
            .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0);
        if !is_ours {
            return Err(problem(
                format!(
                    "{} is no directory that only you may write to",
                    dir.display()
                ),
                hint,
            ));
        }
    }
    Ok(())
}

/// Moves this process into the namespace.
fn namespace() -> Result<(), Hinted> {
    let maps = maps()?;
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map(|(read, write)| (File::from(read), File::from(write)))
            .map_err(|errno| problem(format!("making a pipe: {errno}"), "try again"))
    };
    let (mut asked, mut ask) = pipe()?;
    let (mut told, mut tell) = pipe()?;
    // The set-uid programs must be started from outside: in a namespace without maps there is no root to become.
    let helper = clone_process(Namespaces::NONE)
        .map_err(|error| problem(error.to_string(), "is the limit of processes reached?"))?;
    let pid = match helper {
        Cloned::Child => {
            drop((ask, told));
            if asked.read_exact(&mut [0]).is_ok() {
                let said = map(own_pid, &maps).err().unwrap_or_default();
                let _ = tell.write_all(said.as_bytes());
            }
            repot_sys::exit_now(0)
        }
        Cloned::Parent { pid, .. } => pid,
    };
    drop((asked, tell));
    let entered = unshare(Namespaces::USER | Namespaces::MOUNT);
    let mut said = String::new();
    if entered.is_ok() {
        let _ = ask.write_all(b"1");
        let _ = told.read_to_string(&mut said);
    }
    drop(ask);
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
    });
    entered.map_err(|error| refused(error.errno))?;
    if !said.is_empty() {
        return Err(problem(
            said,
            "are they from the package uidmap, set-uid root or with file capabilities? `ls -l $(command -v newuidmap newgidmap)`; \
             do /etc/subuid and /etc/subgid still give you these IDs?",
        ));
    }
    // Changes nothing (such a namespace's mounts receive the host's and send none), but tells whether one may mount here.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", flags).map_err(refused)
}

/// The arguments of [`MAPPERS`].
fn maps() -> Result<[Vec<String>; 2], Hinted> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (subuid, subgid) = (read("/etc/subuid"), read("/etc/subgid"));
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let user = User::find(uid.as_raw(), &read("/etc/passwd"));
    let uids = subids::of(&user, &subuid);
    let gids = subids::of(&user, &subgid);
    for (ranges, kind, path) in [
        (&uids, "user", "/etc/subuid"),
        (&gids, "group", "/etc/subgid"),
    ] {
        let count: u64 = ranges.iter().map(|(_, count)| count).sum();
        if count < subids::NEEDED {
            let (first, size) = subids::free_range(&subuid, &subgid);
            let last = first + size - 1;
            return Err(problem(
                format!(
                    "a distribution needs {} IDs, and {path} gives {} {} subordinate {kind} IDs",
                    subids::NEEDED,
                    user.name,
                    if count == 0 {
                        "no".to_owned()
                    } else {
                        format!("only {count}")
                    }
                ),
                format!(
                    "`sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {}`",
                    user.name
                ),
            ));
        }
    }
    for program in MAPPERS {
        if !is_in_path(program) {
            return Err(problem(
                format!(
                    "{program} is missing, which maps subordinate IDs for users other than root"
                ),
                "`sudo apt-get install uidmap` (in other distributions: shadow, shadow-utils or shadow-uidmap)",
            ));
        }
    }
    Ok([
        subids::arguments(uid.as_raw(), &uids),
        subids::arguments(gid.as_raw(), &gids),
    ])
}

/// Whether a program is found where the user's shell looks.
pub(crate) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Has the maps of a process written.
fn map(pid: i32, maps: &[Vec<String>; 2]) -> Result<(), String> {
    for (program, arguments) in MAPPERS.iter().zip(maps) {
        let output = Command::new(program)
            .arg(pid.to_string())
            .args(arguments)
            .output()
            .map_err(|error| format!("starting {program}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{program} refused ({}): {}",
                output.status,
                said.trim()
            ));
        }
    }
    Ok(())
}

/// Why the kernel gives no user namespace, from the settings that forbid it.
fn refused(errno: Errno) -> Hinted {
    let setting = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")));
        text.ok().map(|text| text.trim().to_owned())
    };
    let hint = refusal(errno, setting);
    problem(
        format!("the kernel gives you no user namespace: {errno}"),
        hint,
    )
}

/// `setting` tells the value of a sysctl.
fn refusal(errno: Errno, setting: impl Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| setting(name).as_deref() == Some(value);
    if is("user.max_user_namespaces", "0") {
        return "`sudo sysctl user.max_user_namespaces=15000` allows them".into();
    }
    // Debian's and Arch's own switch.
    if is("kernel.unprivileged_userns_clone", "0") {
        return "`sudo sysctl kernel.unprivileged_userns_clone=1` allows them".into();
    }
    // Ubuntu from 23.10 on: the namespace is made, but has no privileges.
    if is("kernel.apparmor_restrict_unprivileged_userns", "1") {
        return "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows them, or an AppArmor profile for repot with \
                `userns,`"
            .into();
    }
    match errno {
        Errno::NOSPC | Errno::USERS => {
            "all are in use: `sysctl user.max_user_namespaces` tells the limit, and they nest 32 deep".into()
        }
        Errno::INVAL | Errno::NOSYS => "the kernel was built without CONFIG_USER_NS".into(),
        _ => "a container or a security module (seccomp, SELinux) forbids it: run repot outside of it, or as root".into(),
    }
}

fn problem(what: impl Into<String>, hint: impl Into<String>) -> Hinted {
    Hinted {
        hint: hint.into(),
        source: what.into().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting() {
        let hint = |name: &'static str, value: &'static str| {
            refusal(Errno::PERM, move |asked| {
                (asked == name).then(|| value.to_owned())
            })
        };
        assert!(hint("user.max_user_namespaces", "0").contains("max_user_namespaces=15000"));
        assert!(hint("kernel.unprivileged_userns_clone", "0").contains("userns_clone=1"));
        assert!(hint("kernel.apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(hint("user.max_user_namespaces", "9").contains("security module"));
    }

    #[test]
    fn a_run_time_directory_of_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = |run: &str| Dirs {
            data: dir.path().join("data"),
            run: dir.path().join(run),
        };
        check_run_dir(&dirs("fresh")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        let error = check_run_dir(&dirs("link")).unwrap_err();
        assert!(error.hint.contains("XDG_RUNTIME_DIR"), "{error}");
        let open = dirs("open");
        crate::registry::make_private_dir(&open.run).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&open.run, mode).unwrap();
        check_run_dir(&open).unwrap_err();
    }
}
