//! Without root: a user with subordinate IDs imports, boots, logs in, reboots, stops and removes, for every kind of init; what
//! is missing is told with the command that gives it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use repot_e2e::trees::{Compression, Tree};
use repot_e2e::user::User;

use crate::boot;
use crate::life::{Case, attended_in, locked_in};
use crate::sandbox::{Sandbox, utf8};

/// The tree of a case as a file that everybody may read.
pub fn tarball(case: &Case) -> Result<String> {
    utf8(
        &Tree::named(case.tree)?
            .with_password()
            .tarball(Compression::Zstd)?,
    )
}

/// What root's machines go through: console, sessions, reboot, power-off from inside and from outside, removal.
fn cell(case: &Case) -> Result<()> {
    let sandbox = Sandbox::of_user(&User::with_subordinate_ids()?)?;
    whole_life(&sandbox, case)?;
    sandbox.finish()
}

pub fn whole_life(sandbox: &Sandbox, case: &Case) -> Result<()> {
    let image = sandbox.ok(&["import", &tarball(case)?])?;
    attended_in(sandbox, case, image.trim())?;
    locked_in(sandbox, case, image.trim())?;
    sandbox.ok(&["images", "--rm", image.trim()])?;
    let left = sandbox.ok(&["images", "--json"])?;
    ensure!(
        left.contains("\"images\": []"),
        "after `images --rm`: {left}"
    );
    Ok(())
}

/// A home is often on a file system whose restrictions a user may not take away: `nosuid,nodev`.
#[test]
fn a_home_with_locked_flags() -> Result<()> {
    let user = User::with_subordinate_ids()?;
    let mut sandbox = Sandbox::of_user(&user)?;
    let data = sandbox.dir().join("data");
    std::fs::create_dir_all(&data)?;
    sandbox.on_a_lasting_host(&format!(
        "mount -t tmpfs -o nosuid,nodev,uid={},mode=700 tmpfs {}",
        user.uid,
        utf8(&data)?
    ))?;
    whole_life(&sandbox, &boot::BUSYBOX_ALPINE)?;
    sandbox.finish()
}

#[test]
fn sysvinit() -> Result<()> {
    cell(&boot::BOOKWORM_SYSVINIT)
}

#[test]
fn openrc() -> Result<()> {
    cell(&boot::BOOKWORM_OPENRC)
}

#[test]
fn runit() -> Result<()> {
    cell(&boot::BOOKWORM_RUNIT)
}

#[test]
fn finit() -> Result<()> {
    cell(&boot::BOOKWORM_FINIT)
}

#[test]
fn s6() -> Result<()> {
    cell(&boot::BOOKWORM_S6)
}

#[test]
fn busybox() -> Result<()> {
    cell(&boot::BOOKWORM_BUSYBOX)
}

#[test]
fn shepherd() -> Result<()> {
    cell(&boot::TRIXIE_GUIX)
}

#[test]
fn systemd_in_a_delegated_cgroup() -> Result<()> {
    let user = User::with_subordinate_ids()?;
    let mut sandbox = Sandbox::of_user(&user)?;
    let cgroup = Delegated::to(&user, sandbox.id())?;
    sandbox.in_cgroup(&cgroup.0)?;
    whole_life(&sandbox, &boot::BOOKWORM_SYSTEMD)?;
    let mut left = fs::read_dir(&cgroup.0)?.flatten();
    let left = left.find(|entry| entry.path().is_dir());
    ensure!(left.is_none(), "left in the delegated cgroup: {left:?}");
    drop(cgroup);
    sandbox.finish()
}

#[test]
fn systemd_without_a_cgroup_is_refused_before_anything_is_made() -> Result<()> {
    let sandbox = Sandbox::of_user(&User::with_subordinate_ids()?)?;
    let tarball = tarball(&boot::BOOKWORM_SYSTEMD)?;
    let name = sandbox.name();
    let done = sandbox.expect(&["boot", &tarball, "--name", &name, "--detach"], 3)?;
    ensure!(done.err().contains("none is delegated to you"), "{done}");
    let says_how = ["Delegate=yes", "cgroup.procs"]
        .iter()
        .any(|word| done.err().contains(word));
    ensure!(says_how, "{done}");
    // A command needs no cgroup.
    let said = sandbox.ok(&["run", &tarball, "id", "-u"])?;
    ensure!(said == "0\n", "run: {said:?}");
    sandbox.finish()
}

/// Owners, modes and capabilities of an unpacked tree are those of the archive; what a machine makes is its user's.
#[test]
fn files_belong_to_whom_they_should() -> Result<()> {
    let sandbox = Sandbox::of_user(&User::with_subordinate_ids()?)?;
    let tarball = tarball(&boot::BOOKWORM_SYSTEMD)?;
    let look = "stat -c '%U:%G %a' /etc/shadow /usr/bin/su /tmp; cat /proc/self/setgroups; touch /root/x; chown 4711:4712 /root/x; \
                stat -c %u:%g /root/x";
    let said = sandbox.ok(&["run", &tarball, "sh", "-c", look])?;
    let expected = "root:shadow 640\nroot:root 4755\nroot:root 1777\nallow\n4711:4712\n";
    ensure!(said == expected, "{said}");
    // A set-uid program gives its rights to users of the machine.
    let su = "setpriv --reuid=65534 --regid=65534 --clear-groups su -c 'id -u' </dev/null 2>&1; \
              setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'cp /usr/bin/id /tmp/id; id -u'; chmod u+s /usr/bin/id; \
              setpriv --reuid=65534 --regid=65534 --clear-groups id";
    let said = sandbox.ok(&["run", &tarball, "sh", "-c", su])?;
    ensure!(
        said.contains("65534\n") && said.contains("euid=0(root)"),
        "{said}"
    );
    sandbox.finish()
}

#[test]
fn missing_subordinate_ids_are_told_with_the_command_that_gives_them() -> Result<()> {
    let sandbox = Sandbox::of_user(&User::named("daemon")?)?;
    let done = sandbox.expect(&["import", &tarball(&boot::BOOKWORM_BUSYBOX)?], 3)?;
    ensure!(
        done.err()
            .contains("/etc/subuid gives daemon no subordinate user IDs"),
        "{done}"
    );
    ensure!(done.err().contains("usermod --add-subuids"), "{done}");
    // What needs none goes on.
    ensure!(sandbox.names()?.is_empty());
    sandbox.finish()
}

#[test]
fn missing_newuidmap_is_told_with_its_package() -> Result<()> {
    let sandbox = Sandbox::of_user(&User::with_subordinate_ids()?)?;
    let mut command = sandbox.command(&["run", &tarball(&boot::BOOKWORM_BUSYBOX)?, "true"])?;
    command.env("PATH", sandbox.dir());
    let done = repot_e2e::process::run(&mut command, b"", crate::sandbox::SHORT)?;
    ensure!(done.code == 125, "{done}");
    ensure!(done.err().contains("newuidmap is missing"), "{done}");
    ensure!(done.err().contains("apt-get install uidmap"), "{done}");
    sandbox.finish()
}

#[test]
fn a_tree_of_others_is_told_of_with_the_way_to_an_own_one() -> Result<()> {
    let mut sandbox = Sandbox::of_user(&User::with_subordinate_ids()?)?;
    let tree = sandbox.base(Tree::named("bookworm-busybox")?)?;
    let done = sandbox.expect(&["run", &tree, "stat", "-c", "%U", "/etc"], 0)?;
    ensure!(done.out() == "nobody\n", "{done}");
    ensure!(done.err().contains("| repot import -"), "{done}");
    sandbox.finish()
}

/// A cgroup2 directory that belongs to a user, as an administrator delegates it (cgroups(7), "Cgroup delegation").
struct Delegated(PathBuf);

impl Delegated {
    fn to(user: &User, name: &str) -> Result<Delegated> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading mounts")?;
        let root = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields.get(2) == Some(&"cgroup2")).then(|| fields[1])
        });
        let dir = Path::new(root.context("this host has mounted no cgroup2")?).join(name);
        fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let delegated = Delegated(dir);
        for file in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            chown(delegated.0.join(file), Some(user.uid), Some(user.gid))?;
        }
        Ok(delegated)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
