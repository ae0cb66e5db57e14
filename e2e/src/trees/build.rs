//! Builds a tree: mmdebstrap or a copy, then the recipe's edit, then one rename.
//!
//! Every program runs in a mount and pid namespace of its own that dies with the test
//! process, so an interrupted build leaves neither mounts nor processes, only a directory
//! with a temporary name that the next build removes. Signatures of the archive are always
//! checked; only the *expiry date* of its index is not, since test machines sit behind
//! mirrors that stand still.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cache::{self, Lock};
use super::recipe::{self, Base, DEBIAN_EDIT};
use super::{PASSWORD_HASH, Root, Tree};

/// Programs of the build, and the Debian packages that hold them. The keyring comes first:
/// without it mmdebstrap would have nothing to check signatures with.
const NEEDS: [(&str, &str); 3] = [
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/bin/unshare", "util-linux"),
];

/// The Debian mirror: `REPOT_TEST_MIRROR`, or the one that apt on this machine is set up with.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("REPOT_TEST_MIRROR") {
        return Ok(mirror);
    }
    if let Some(mirror) = mirror_of_apt()? {
        return Ok(mirror);
    }
    // apt tells of mirrors only when it has their lists.
    let status = Command::new("apt-get").args(["update", "-q"]).status();
    status.context("running apt-get update")?;
    mirror_of_apt()?.context("apt knows no Debian mirror: set REPOT_TEST_MIRROR")
}

fn mirror_of_apt() -> Result<Option<String>> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ])
        .output()
        .context("asking apt for its mirror")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut uris = listed.lines().map(|uri| uri.trim_end_matches('/'));
    Ok(uris.find(|uri| uri.ends_with("/debian")).map(str::to_owned))
}

/// Builds `tree` and what it is derived from, unless that is there already. The lock is the
/// caller's proof that nobody else builds.
pub fn build(tree: Tree, lock: &Lock) -> Result<()> {
    if tree.is_built()? {
        // Somebody else built it while we waited for the lock.
        return Ok(());
    }
    let slot = tree.slot()?;
    let work = sweep(&tree)?;
    let rootfs = work.join("rootfs");
    match tree.root {
        // An unlocked tree is its locked twin with one more edit.
        Root::Password => {
            let locked = Tree {
                root: Root::Locked,
                ..tree
            };
            build(locked, lock)?;
            copy(&locked.path()?, &rootfs)?;
            edit(&tree, &rootfs, None, tree.recipe.unlock)?;
        }
        Root::Locked => fill(&tree, &rootfs, lock)?,
    }
    fs::write(
        work.join("recipe.txt"),
        recipe::describe(tree.recipe, tree.root)?,
    )
    .with_context(|| format!("describing {}", slot.display()))?;
    // An earlier build cannot have left `slot` half made, but a person may have.
    if slot.exists() {
        bail!("{} exists but has no rootfs: remove it", slot.display());
    }
    fs::rename(&work, &slot)
        .with_context(|| format!("renaming {} to {}", work.display(), slot.display()))
}

fn fill(tree: &Tree, rootfs: &Path, lock: &Lock) -> Result<()> {
    match tree.recipe.base {
        Base::Debian { suite, packages } => {
            debian(suite, "minbase", None, packages, rootfs)?;
            edit(tree, rootfs, None, DEBIAN_EDIT)?;
            edit(tree, rootfs, None, tree.recipe.edit)
        }
        Base::Extract { suite, packages } => {
            debian(suite, "extract", None, packages, rootfs)?;
            edit(tree, rootfs, None, DEBIAN_EDIT)?;
            edit(tree, rootfs, None, tree.recipe.edit)
        }
        Base::Foreign {
            suite,
            architecture,
            packages,
        } => {
            debian(suite, "extract", Some(architecture), packages, rootfs)?;
            edit(tree, rootfs, None, DEBIAN_EDIT)?;
            edit(tree, rootfs, None, tree.recipe.edit)
        }
        Base::Copy { of } => {
            copy(&base(of, lock)?, rootfs)?;
            edit(tree, rootfs, None, tree.recipe.edit)
        }
        Base::Graft { of, from } => {
            let from = base(from, lock)?;
            copy(&base(of, lock)?, rootfs)?;
            edit(tree, rootfs, Some(&from), tree.recipe.edit)
        }
        Base::Assemble { from } => {
            let from = base(from, lock)?;
            fs::create_dir(rootfs).with_context(|| format!("creating {}", rootfs.display()))?;
            edit(tree, rootfs, Some(&from), tree.recipe.edit)
        }
    }
}

/// The root directory of the tree that another one is derived from.
fn base(name: &str, lock: &Lock) -> Result<PathBuf> {
    let tree = Tree::named(name)?;
    build(tree, lock).with_context(|| format!("building {name} first"))?;
    tree.path()
}

/// An empty directory with a temporary name; those that interrupted builds left are removed.
fn sweep(tree: &Tree) -> Result<PathBuf> {
    let work = cache::dir().join(format!(".building-{}", tree.label()));
    if work.exists() {
        remove(&work)?;
    }
    fs::create_dir(&work).with_context(|| format!("creating {}", work.display()))?;
    Ok(work)
}

/// Runs mmdebstrap. Downloaded packages are hard-linked in from and out to a directory per
/// suite, so that each is fetched once; mmdebstrap removes them from the tree afterwards.
fn debian(
    suite: &str,
    variant: &str,
    architecture: Option<&str>,
    packages: &[&str],
    rootfs: &Path,
) -> Result<()> {
    install_needs()?;
    let archives = cache::dir().join("apt").join(suite);
    fs::create_dir_all(&archives).with_context(|| format!("creating {}", archives.display()))?;
    let mirror = mirror()?;
    let take = r#"mkdir -p "$1/var/cache/apt/archives"
        find "$ARCHIVES" -name '*.deb' -exec cp -l -t "$1/var/cache/apt/archives" '{}' +"#;
    let keep =
        r#"find "$1/var/cache/apt/archives" -name '*.deb' -exec cp -l -n -t "$ARCHIVES" '{}' +"#;
    let mut command = contained();
    command
        .env("ARCHIVES", &archives)
        .args([
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--skip=download/empty,essential/unlink",
        ])
        .arg(format!("--variant={variant}"))
        // Not about signatures: sid's index says when it becomes stale, and a mirror that
        // stands still has an old one.
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .arg(format!("--setup-hook={take}"))
        .arg(format!("--customize-hook={keep}"));
    if let Some(architecture) = architecture {
        command.arg(format!("--architectures={architecture}"));
    }
    // One by one: a pattern of apt's may not stand in a list.
    command.args(packages.iter().map(|it| format!("--include={it}")));
    command
        .arg(suite)
        .arg(rootfs)
        .arg(format!("deb {mirror} {suite} main"));
    run(&mut command)
}

fn install_needs() -> Result<()> {
    let missing: Vec<_> = NEEDS
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let quiet = "DEBIAN_FRONTEND=noninteractive";
    run(Command::new("env").args([quiet, "apt-get", "update"]))?;
    run(Command::new("env")
        .args([
            quiet,
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
        ])
        .args(missing.iter().map(|(_, package)| package)))
}

/// Copies a whole tree, sharing blocks where the file system can.
pub fn copy(from: &Path, into: &Path) -> Result<()> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto", "--no-target-directory", "--"])
        .arg(from)
        .arg(into))
}

/// Removes a directory of the cache, but nothing that is mounted there.
pub fn remove(path: &Path) -> Result<()> {
    run(Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(path))
}

/// Runs a piece of a recipe in the root directory of the tree.
fn edit(tree: &Tree, rootfs: &Path, from: Option<&Path>, script: &str) -> Result<()> {
    let mut command = contained();
    command.args(["sh", "-euc", script]).current_dir(rootfs);
    command
        .env("ROOT", rootfs)
        .env("NAME", tree.recipe.name)
        .env("HASH", PASSWORD_HASH)
        .env("MIRROR", mirror()?);
    if let Some(from) = from {
        command.env("FROM", from);
    }
    run(&mut command).with_context(|| format!("editing {}", rootfs.display()))
}

/// The start of a command line whose program, and all that it starts, dies with us, sees a
/// mount table of its own, and has the environment of a fresh system.
fn contained() -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .args(["sh", "-c", "umask 022; exec \"$@\"", "sh"])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C.UTF-8");
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(proxy) {
            command.env(proxy, value);
        }
    }
    command
}

/// Runs a program to its end. On failure the error has the last lines that it printed.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", name.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = said.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(25)..)
        .unwrap_or_default()
        .join("\n");
    bail!("{command:?} failed, {}:\n{tail}", output.status)
}
