//! Incus, started for a test. Debian has it from 13 on, so its programs and their libraries come from a tree of the kit
//! (`trixie-incus`): the daemon runs with that as its root and everything else as on the host, the client through the tree's
//! dynamic loader.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::instances::{Instances, Kind};
use crate::trees::Tree;

/// pivot_root(2), since a process that was put below another root by chroot(2) may not make user namespaces
/// (user_namespaces(7)). What is written outside of the daemon's directory goes to a tmpfs.
const SCRIPT: &str = r#"cd "$1"
mkdir root over
mount -t tmpfs -o mode=755 tmpfs over
mkdir over/upper over/work
mount -t overlay -o "lowerdir=$2,upperdir=$1/over/upper,workdir=$1/over/work" overlay root
for place in /proc /sys /dev "$1"; do mkdir -p "root$place"; done
for place in /proc /sys /dev; do mount --rbind "$place" "root$place"; done
mount --bind "$1" "root$1"
cd root
mkdir .host
pivot_root . .host
umount -l .host
exec /usr/libexec/incus/incusd --group root --logfile "$1/log""#;

const KIND: Kind = Kind {
    script: SCRIPT,
    client: "incus",
    admin: &["incus", "admin"],
    dir: "INCUS_DIR",
    conf: "INCUS_CONF",
};

/// Starts it, with everything in `dir`, which must not exist.
///
/// # Errors
/// The tree cannot be built, or Incus does not come up.
pub fn start(dir: &Path) -> Result<Instances> {
    let tree = Tree::named("trixie-incus")?.ensure()?;
    let programs = dir.join("bin");
    fs::create_dir_all(&programs).context("making Incus' directory")?;
    let client = programs.join("incus");
    let text = format!(
        "#!/bin/sh\nexec {0}/usr/lib64/ld-linux-x86-64.so.2 --library-path {0}/usr/lib/x86_64-linux-gnu \
         {0}/usr/bin/incus \"$@\"\n",
        tree.display()
    );
    fs::write(&client, text).context("writing Incus' client")?;
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755))
        .context("making Incus' client a program")?;
    let path = std::env::var("PATH").context("reading PATH")?;
    let path = format!("{}:{path}", programs.display());
    Instances::start(&KIND, dir, &tree, Some(path)).context("starting Incus")
}
