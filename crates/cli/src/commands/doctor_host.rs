//! `repot doctor --host`: what this host can do, what it limits, which container systems it has; with the command that mends it.

mod emulators;
mod overlay;

use crate::engines::Chosen;
use crate::{exit, output};
use repot_engines::{CgroupLayout, Host, Usable};
use repot_model::{IdMap, MachineName};
use repot_runtime::idmap::{self, MountKind};
use repot_runtime::{Dirs, lxcfs_files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How good a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Grade {
    /// As it should be.
    Ok,
    /// Something is done without, or will be short with many machines.
    Limited,
    /// Something cannot be done.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Item {
    group: &'static str,
    what: String,
    grade: Grade,
    found: String,
    /// The command that mends it.
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    host: Vec<Item>,
}

pub(crate) fn run(json: bool) -> anyhow::Result<u8> {
    let host = Host::look();
    let mut items = Vec::new();
    items.extend(kernel(&host));
    items.extend(limits());
    items.extend(programs());
    items.extend(engines(&host));
    // An engine that is not installed is nothing to mend.
    let has_findings = items
        .iter()
        .any(|item| item.grade != Grade::Ok && item.group != "engines");
    if json {
        output::json(&Document {
            version: output::JSON_VERSION,
            host: items,
        })?;
    } else {
        show(&items);
    }
    Ok(if has_findings { exit::FINDINGS } else { 0 })
}

fn show(items: &[Item]) {
    let mut group = "";
    for item in items {
        if item.group != group {
            if !group.is_empty() {
                output::line("");
            }
            group = item.group;
            output::line(format!("{group}:"));
        }
        let sign = match item.grade {
            Grade::Ok => "ok     ",
            Grade::Limited => "limited",
            Grade::Missing => "missing",
        };
        output::line(format!("    {sign}  {:<29} {}", item.what, item.found));
        if let Some(hint) = &item.hint {
            output::line(format!("             {:<29} to do: {hint}", ""));
        }
    }
}

fn item(
    group: &'static str,
    what: &str,
    grade: Grade,
    found: impl Into<String>,
    hint: Option<&str>,
) -> Item {
    Item {
        group,
        what: what.to_owned(),
        grade,
        found: found.into(),
        hint: hint.map(str::to_owned),
    }
}

fn kernel(host: &Host) -> Vec<Item> {
    const GROUP: &str = "kernel";
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = kernel_version(&release);
    let mut items = vec![match version {
        Some(version) if version >= (5, 19) => {
            item(GROUP, "Linux", Grade::Ok, release.as_str(), None)
        }
        Some(version) if version >= (5, 2) => item(
            GROUP,
            "Linux",
            Grade::Limited,
            format!(
                "{release}: no overlay above ID-mapped layers before 5.19, so machines run without a user namespace"
            ),
            Some("boot a newer kernel"),
        ),
        _ => item(
            GROUP,
            "Linux",
            Grade::Missing,
            format!("{release}: repot needs 5.2"),
            Some("boot a newer kernel"),
        ),
    }];
    items.push(match host.cgroups {
        CgroupLayout::Unified => item(GROUP, "cgroups", Grade::Ok, "v2", None),
        CgroupLayout::Hybrid => item(
            GROUP,
            "cgroups",
            Grade::Ok,
            "hybrid: controllers on v1, cgroup2 at /sys/fs/cgroup/unified; other engines show machines v1 only",
            None,
        ),
        CgroupLayout::Legacy => item(
            GROUP,
            "cgroups",
            Grade::Ok,
            "v1; cgroup2 is mounted privately where an init wants it",
            None,
        ),
        CgroupLayout::None => item(
            GROUP,
            "cgroups",
            Grade::Limited,
            "none are mounted: they are mounted privately where an init wants them, limits are not kept",
            Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
        ),
    });
    items.push(user_namespaces());
    items.push(id_mapping());
    items.push(subordinate_ids(host));
    items.push(overlay::without_root());
    items.push(emulators::emulators(&host.emulators));
    for (name, what) in [
        ("overlay", "layers above a tree"),
        ("fuse", "fuse-overlayfs and lxcfs"),
        ("squashfs", "mounting squashfs images"),
    ] {
        let known = read("/proc/filesystems").unwrap_or_default();
        let has = known
            .lines()
            .any(|line| line.split_whitespace().next_back() == Some(name));
        items.push(if has {
            item(GROUP, name, Grade::Ok, what, None)
        } else {
            let hint = format!("modprobe {name}");
            item(
                GROUP,
                name,
                if name == "overlay" {
                    Grade::Missing
                } else {
                    Grade::Limited
                },
                format!("not loaded: {what}"),
                Some(hint.as_str()),
            )
        });
    }
    items
}

/// `5.19.0-x` as numbers.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn user_namespaces() -> Item {
    const GROUP: &str = "kernel";
    const WHAT: &str = "user namespaces";
    let max = number("/proc/sys/user/max_user_namespaces");
    if max == Some(0) {
        return item(
            GROUP,
            WHAT,
            Grade::Missing,
            "user.max_user_namespaces is 0",
            Some("sysctl user.max_user_namespaces=15000"),
        );
    }
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return item(
            GROUP,
            WHAT,
            Grade::Limited,
            "for root only (kernel.unprivileged_userns_clone is 0)",
            Some("sysctl kernel.unprivileged_userns_clone=1"),
        );
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return item(
            GROUP,
            WHAT,
            Grade::Limited,
            "for root only (kernel.apparmor_restrict_unprivileged_userns is 1)",
            Some("sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        );
    }
    item(GROUP, WHAT, Grade::Ok, "for everybody", None)
}

/// Whether files of repot's own directories can be shown with other owners: tried.
fn id_mapping() -> Item {
    const GROUP: &str = "kernel";
    const WHAT: &str = "ID-mapped mounts";
    let dirs = Dirs::from_env();
    let place = nearest(&dirs.data);
    let tried = MachineName::new("doctor")
        .map_err(|error| error.to_string())
        .and_then(|name| idmap::choose(&name).map_err(|error| error.to_string()))
        .and_then(|idmap| match idmap {
            IdMap::Shifted { .. } => idmap::probe(&idmap, &[(place.as_path(), MountKind::Layer)])
                .map_err(|why| why.to_string()),
            IdMap::Identity { .. } | IdMap::Host { .. } => {
                Err("only root of the host may make them".into())
            }
        });
    match tried {
        Ok(()) => item(
            GROUP,
            WHAT,
            Grade::Ok,
            format!("work at {}", place.display()),
            None,
        ),
        Err(why) => item(
            GROUP,
            WHAT,
            Grade::Limited,
            why,
            Some("REPOT_DATA_DIR may name a directory on ext4, xfs, btrfs or tmpfs"),
        ),
    }
}

/// The directory itself, or what there is of the way to it.
fn nearest(path: &Path) -> PathBuf {
    let mut path = path;
    while !path.is_dir() {
        match path.parent() {
            Some(parent) => path = parent,
            None => break,
        }
    }
    path.to_owned()
}

fn subordinate_ids(host: &Host) -> Item {
    const GROUP: &str = "kernel";
    const WHAT: &str = "subordinate IDs";
    if host.is_root {
        return item(GROUP, WHAT, Grade::Ok, "not needed by root", None);
    }
    let uid = rustix::process::geteuid().as_raw();
    let name = std::env::var("USER").unwrap_or_default();
    let count = |path: &str| -> u64 {
        let text = read(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let owner = fields.next()?;
                (owner == name || owner == uid.to_string())
                    .then(|| fields.nth(1)?.trim().parse::<u64>().ok())
                    .flatten()
            })
            .sum()
    };
    let (uids, gids) = (count("/etc/subuid"), count("/etc/subgid"));
    if uids.min(gids) >= 65536 {
        return item(GROUP, WHAT, Grade::Ok, format!("{}", uids.min(gids)), None);
    }
    let hint =
        format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}");
    item(
        GROUP,
        WHAT,
        Grade::Missing,
        format!("you have {uids} user and {gids} group IDs; machines want 65536"),
        Some(hint.as_str()),
    )
}

fn limits() -> Vec<Item> {
    const GROUP: &str = "limits";
    let mut items = Vec::new();
    // What is wanted for some thirty machines with systemd, the unit, and what it is needed for.
    for (path, least, wanted, what) in [
        (
            "fs/inotify/max_user_instances",
            1024,
            8192,
            "systemd, agetty and others hold some each",
        ),
        (
            "fs/inotify/max_user_watches",
            65_536,
            1_048_576,
            "each systemd watches hundreds of files",
        ),
        (
            "kernel/keys/maxkeys",
            1000,
            2000,
            "a keyring for each session of root",
        ),
        (
            "kernel/pty/max",
            1024,
            4096,
            "some eight terminals for each machine",
        ),
        (
            "kernel/pid_max",
            32_768,
            4_194_304,
            "some fifty processes for each machine",
        ),
    ] {
        let name = path.replace('/', ".");
        let Some(value) = number(&format!("/proc/sys/{path}")) else {
            continue;
        };
        let hint = format!("sysctl {name}={wanted}");
        items.push(if value >= least {
            item(GROUP, &name, Grade::Ok, value.to_string(), None)
        } else {
            item(
                GROUP,
                &name,
                Grade::Limited,
                format!("{value}: {what}, so that it limits the number of machines"),
                Some(hint.as_str()),
            )
        });
    }
    items
}

fn programs() -> Vec<Item> {
    const GROUP: &str = "programs";
    let is_root = rustix::process::geteuid().is_root();
    let mut items = Vec::new();
    for (program, package, what, needs_it) in [
        ("newuidmap", "uidmap", "machines without root", !is_root),
        ("mksquashfs", "squashfs-tools", "export to squashfs", false),
    ] {
        let found = std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|dir| dir.join(program))
            .find(|path| path.is_file());
        let hint = format!("apt-get install {package}");
        items.push(match found {
            Some(path) => item(GROUP, program, Grade::Ok, path.display().to_string(), None),
            None => item(
                GROUP,
                program,
                if needs_it {
                    Grade::Missing
                } else {
                    Grade::Limited
                },
                format!("not installed: {what}"),
                Some(hint.as_str()),
            ),
        });
    }
    items.push(if lxcfs_files().is_empty() {
        item(
            GROUP,
            "lxcfs",
            Grade::Limited,
            "not mounted: machines see the host's memory and processors in /proc",
            Some("apt-get install lxcfs; systemctl start lxcfs"),
        )
    } else {
        item(GROUP, "lxcfs", Grade::Ok, "mounted", None)
    });
    items
}

fn engines(host: &Host) -> Vec<Item> {
    Chosen::all()
        .into_iter()
        .map(|chosen| {
            let found = chosen.discover(host);
            let version = found.version.unwrap_or_default();
            let (grade, text, hint) = match found.state {
                Usable::Yes => (Grade::Ok, version, None),
                Usable::Missing { hint } => (Grade::Missing, "not installed".into(), Some(hint)),
                Usable::No { why, hint } => {
                    (Grade::Limited, format!("{version} {why}"), Some(hint))
                }
            };
            Item {
                group: "engines",
                what: chosen.id().0,
                grade,
                found: text.trim().to_owned(),
                hint,
            }
        })
        .collect()
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers() {
        assert_eq!(kernel_version("6.18.5-amd64"), Some((6, 18)));
        assert_eq!(kernel_version("5.2"), Some((5, 2)));
        assert_eq!(kernel_version("x"), None);
    }
}
