//! Adaptations of the tree that no environment can replace, laid over it and never written into it.
//!
//! Each is a file with a reason. They go into a layer of the machine's own, made anew at each boot, below what the machine
//! writes itself.

use crate::args::{Environment, NetworkArg};
use anyhow::Context;
use repot_model::{Decision, Facts};
use repot_rootfs::RootRead;
use repot_runtime::plan::Payload;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

/// A file laid over the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Absolute path in the tree, without symlinks on the way.
    path: String,
    content: Content,
    why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    Link(String),
}

impl Edit {
    /// For `--dry-run` and `status`.
    pub(crate) fn decision(&self) -> Decision {
        let what = match &self.content {
            Content::Text(text) => {
                format!("{} laid over the tree, {} bytes", self.path, text.len())
            }
            Content::Link(to) => format!("{} laid over the tree, a link to {to}", self.path),
        };
        Decision {
            what,
            why: self.why.clone(),
        }
    }
}

/// What has to be laid over a tree for this start.
pub(crate) fn edits(
    root: &RootRead,
    facts: &Facts,
    environment: &Environment,
    payload: &Payload,
) -> anyhow::Result<Vec<Edit>> {
    let mut edits = Vec::new();
    edits.extend(timezone(root, &environment.timezone)?);
    edits.extend(hostname(root, environment.hostname.as_deref()));
    if environment.network == NetworkArg::Host {
        edits.extend(resolv_conf(root));
    }
    if let Payload::Init { argv: None, .. } = payload {
        edits.extend(busybox_inittab(root, facts));
    }
    Ok(edits)
}

/// A host name that the user asked for: most inits set the one in the file, whatever the machine was given.
fn hostname(root: &RootRead, wish: Option<&str>) -> Option<Edit> {
    let name = wish?;
    let why = format!("--hostname {name}: the init would set the tree's own");
    is_plain_dir(root, "/etc").then(|| Edit {
        path: "/etc/hostname".into(),
        content: Content::Text(format!("{name}\n")),
        why,
    })
}

/// Without an inittab, busybox offers a shell on the console instead of a login (busybox, init/init.c, `parse_inittab`). What
/// it does by default besides is kept.
fn busybox_inittab(root: &RootRead, facts: &Facts) -> Option<Edit> {
    let init = facts.init.as_ref().filter(|init| init.id.0 == "busybox")?;
    if root.exists("/etc/inittab")
        || root.symlink_metadata("/etc/inittab").is_ok()
        || !root.is_dir("/etc")
    {
        return None;
    }
    facts.login.login.as_ref()?;
    let getty = facts
        .login
        .gettys
        .iter()
        .find(|path| path.ends_with("/getty"))?;
    let _ = init;
    let text = format!(
        "::sysinit:/etc/init.d/rcS\n::respawn:{getty} -L 0 console vt100\n::ctrlaltdel:reboot\n::shutdown:swapoff -a\n::shutdown:umount -a -r\n::restart:init\n"
    );
    let why = "busybox init without an inittab gives whoever sits at the console a root shell; with this one it asks for a login".to_owned();
    Some(Edit {
        path: "/etc/inittab".into(),
        content: Content::Text(text),
        why,
    })
}

/// The host's time zone, as nspawn's `--timezone=auto` gives it, but only to a tree that has none of its own.
fn timezone(root: &RootRead, wish: &str) -> anyhow::Result<Option<Edit>> {
    let zone = match wish {
        "keep" => return Ok(None),
        "auto" if root.symlink_metadata("/etc/localtime").is_ok() => return Ok(None),
        "auto" => {
            let link = std::fs::read_link("/etc/localtime").unwrap_or_default();
            let zone = link.to_str().and_then(|link| link.split_once("/zoneinfo/"));
            let Some((_, zone)) = zone else {
                return Ok(None);
            };
            zone.to_owned()
        }
        zone => zone.to_owned(),
    };
    let file = format!("/usr/share/zoneinfo/{zone}");
    // Neither a dangling link nor one that leaves the database.
    if zone.contains("..") || !root.is_file(&file) || !is_plain_dir(root, "/etc") {
        if wish == "auto" {
            return Ok(None);
        }
        anyhow::bail!("--timezone {zone}: the tree has no {file}");
    }
    let why = format!("time zone {zone} (--timezone {wish})");
    Ok(Some(Edit {
        path: "/etc/localtime".into(),
        content: Content::Link(file),
        why,
    }))
}

/// With the host's network, the host's name servers; not its stub on 127.0.0.53, which may listen for the host only.
fn resolv_conf(root: &RootRead) -> Option<Edit> {
    let candidates = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];
    let text = candidates
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())?;
    let why =
        "the machine shares the host's network, so it needs the host's name servers".to_owned();
    is_plain_dir(root, "/etc").then(|| Edit {
        path: "/etc/resolv.conf".into(),
        content: Content::Text(text),
        why,
    })
}

/// Whether a path is a directory of the tree itself. A layer cannot go through a link: it would cover the link.
fn is_plain_dir(root: &RootRead, path: &str) -> bool {
    root.resolve(path).is_ok_and(|resolved| resolved == path) && root.is_dir(path)
}

/// Writes a layer anew: files of ours in a directory of ours, so plain paths will do.
pub(crate) fn write_layer(layer: &Path, edits: &[Edit]) -> anyhow::Result<()> {
    if layer.exists() {
        std::fs::remove_dir_all(layer).with_context(|| format!("removing {}", layer.display()))?;
    }
    std::fs::create_dir_all(layer).with_context(|| format!("creating {}", layer.display()))?;
    std::fs::set_permissions(layer, std::fs::Permissions::from_mode(0o755))?;
    for edit in edits {
        let relative: std::path::PathBuf = Path::new(&edit.path)
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let path = layer.join(relative);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("creating {}", parent.display()))?;
        }
        match &edit.content {
            Content::Text(text) => std::fs::write(&path, text)
                .with_context(|| format!("writing {}", path.display()))?,
            Content::Link(to) => {
                symlink(to, &path).with_context(|| format!("writing {}", path.display()))?
            }
        }
    }
    Ok(())
}
