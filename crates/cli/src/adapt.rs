//! Adaptations of the tree that no environment can replace, laid over it and never written into it.
//!
//! Each is a file with a reason. They go into a layer of the machine's own, made anew at each boot, below what the machine
//! writes itself.

use crate::args::{Environment, NetworkArg};
use crate::mending::Mending;
use repot_model::{Change, Decision, Edit, Facts};
use repot_rootfs::RootRead;
use repot_runtime::plan::Payload;

/// An edit in words, for `--dry-run` and `status`.
pub(crate) fn decision(edit: &Edit) -> Decision {
    let path = &edit.path;
    let what = match &edit.change {
        Change::Write { text, .. } => format!("{path} laid over the tree, {} bytes", text.len()),
        Change::Link { to } => format!("{path} laid over the tree, a link to {to}"),
        Change::Directory { mode } => {
            format!("{path} laid over the tree, a directory ({mode:04o})")
        }
        Change::Remove => format!("{path} hidden"),
        Change::Mode { mode } => format!("{path} laid over the tree with mode {mode:04o}"),
        Change::Owner { uid, gid } => format!("{path} laid over the tree with owner {uid}:{gid}"),
    };
    Decision {
        what,
        why: edit.why.clone(),
    }
}

/// What has to be laid over a tree for this start: what rules ask for, then what the user does, which has the last word.
pub(crate) fn edits(
    root: &RootRead,
    facts: &Facts,
    environment: &Environment,
    payload: &Payload,
    mending: &Mending,
) -> anyhow::Result<Vec<Edit>> {
    let mut edits = of_tree(root, facts, payload, mending);
    edits.extend(timezone(root, &environment.timezone)?);
    edits.extend(hostname(root, environment.hostname.as_deref()));
    if environment.network == NetworkArg::Host {
        edits.extend(resolv_conf(root));
    }
    Ok(edits)
}

/// What rules ask for, wherever it is started.
pub(crate) fn of_tree(
    root: &RootRead,
    facts: &Facts,
    payload: &Payload,
    mending: &Mending,
) -> Vec<Edit> {
    let Payload::Init { argv, .. } = payload else {
        return Vec::new();
    };
    let mut edits = mending.edits(root, facts);
    let is_written = edits.iter().any(|edit| edit.path == "/etc/inittab");
    if argv.is_none() && !is_written {
        edits.extend(busybox_inittab(root, facts));
    }
    edits
}

/// A host name that the user asked for: most inits set the one in the file, whatever the machine was given.
fn hostname(root: &RootRead, wish: Option<&str>) -> Option<Edit> {
    let name = wish?;
    let why = format!("--hostname {name}: the init would set the tree's own");
    is_plain_dir(root, "/etc").then(|| Edit {
        path: "/etc/hostname".into(),
        change: write(format!("{name}\n")),
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
        change: write(text),
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
        change: Change::Link { to: file },
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
        change: write(text),
        why,
    })
}

fn write(text: String) -> Change {
    Change::Write { text, mode: None }
}

/// Whether a path is a directory of the tree itself. A layer cannot go through a link: it would cover the link.
fn is_plain_dir(root: &RootRead, path: &str) -> bool {
    root.resolve(path).is_ok_and(|resolved| resolved == path) && root.is_dir(path)
}
