//! repot's own program: a script whose interpreter is `/proc/self/exe` is repot, run by the machine (as in CVE-2019-5736). Where
//! root of the machine is the user to whom the file belongs, only its being read-only keeps it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use repot_e2e::user::User;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::booted;
use crate::boot;
use crate::rootless::tarball;
use crate::sandbox::Sandbox;

/// Waits for repot in the machine, holds its file, tries to change it while it runs, ends it, tries again as long as whoever started
/// it may still be running it: a program that runs cannot be opened for writing by anybody (ETXTBSY).
const ATTACK: &str = r#"
    n=0; while :; do
        for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = repot ] && break 2; done
        n=$((n + 1)); [ $n -lt 100 ] || exit 9; sleep 0.1; done
    exec 5<$p/exe && echo held
    chmod 777 $p/exe 2>/dev/null
    (: >>$p/exe) 2>/dev/null && echo opened
    mount -o remount,bind,rw $p/exe 2>/dev/null && echo remounted
    kill -9 ${p#/proc/}; while [ -d $p ]; do sleep 0.1; done
    n=0; while [ $n -lt 20 ]; do
        printf CHANGED | dd of=/proc/self/fd/5 conv=notrunc 2>/dev/null && echo written && break
        n=$((n + 1)); sleep 0.1; done
    true"#;

/// What of [`ATTACK`] succeeds on the copy of the program by which a command enters the machine. Nothing else runs that copy.
fn attack(sandbox: &Sandbox, copy: &Path, name: &str) -> Result<String> {
    let script = "printf '#!/proc/self/exe --help\\n' >/again && chmod 755 /again";
    sandbox.exec(name, &["sh", "-c", script])?;
    // It cannot end: nobody reads what it prints.
    let (reader, mut writer) = std::io::pipe().context("making a pipe")?;
    let flags = fcntl_getfl(&writer)?;
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
    loop {
        match writer.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => bail!("filling a pipe: {error}"),
        }
    }
    fcntl_setfl(&writer, flags)?;
    let mut again = sandbox
        .command_by(copy, &["exec", name, "/again"])?
        .stdout(writer)
        .spawn()
        .context("starting repot")?;
    let done = sandbox.exec(name, &["sh", "-c", ATTACK]);
    drop(reader);
    again.wait().context("waiting for repot")?;
    done
}

#[test]
fn the_users_own_copy_cannot_be_changed() -> Result<()> {
    let user = User::with_subordinate_ids()?;
    let mut sandbox = Sandbox::of_user(&user)?;
    let copies = sandbox.use_program_of(&user)?;
    let before = fs::read(&copies[1])?;
    let name = sandbox.name();
    let tree = tarball(&boot::BOOKWORM_BUSYBOX)?;
    sandbox.ok(&["boot", &tree, "-d", "-n", &name])?;
    let got = attack(&sandbox, &copies[1], &name)?;
    // Before PID 1 was the tree's init, it ran what its supervisor runs. (A copy of it may have any mode.)
    let supervisor = &sandbox.status(&name)?["running"]["supervisor_pid"];
    let other = fs::Permissions::from_mode(0o700);
    let _ = fs::set_permissions(format!("/proc/{supervisor}/exe"), other);
    sandbox.ok(&["rm", "-f", &name])?;
    ensure!(got == "held", "succeeded: {got:?}");
    for copy in &copies {
        ensure!(fs::read(copy)? == before, "{} has changed", copy.display());
        ensure!(
            fs::metadata(copy)?.mode() & 0o777 == 0o755,
            "its mode has changed"
        );
    }
    sandbox.finish()
}

/// Root's machines have shifted IDs: to them the file is a stranger's, and repot takes no measures.
#[test]
fn roots_copy_belongs_to_nobody_of_the_machine() -> Result<()> {
    let mut sandbox = Sandbox::new()?;
    let copies = sandbox.use_program_of(&User::named("root")?)?;
    let before = fs::read(&copies[1])?;
    let name = booted(&mut sandbox)?;
    let got = attack(&sandbox, &copies[1], &name)?;
    sandbox.ok(&["rm", "-f", &name])?;
    ensure!(got == "held", "succeeded: {got:?}");
    ensure!(fs::read(&copies[1])? == before, "the program has changed");
    ensure!(
        fs::metadata(&copies[1])?.mode() & 0o777 == 0o755,
        "its mode has changed"
    );
    sandbox.finish()
}
