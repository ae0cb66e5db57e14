//! The lines of `raw.lxc`, which liblxc reads behind those of the daemon's own (lxc.container.conf(5)).

use crate::{CgroupLayout, Host, Launch};
use repot_model::CgroupVersion;

/// Terminals that there always are. A tree that names a higher one gets all up to that.
pub(super) const TERMINALS: u32 = 6;
/// Linux has no more virtual terminals (`MAX_NR_CONSOLES`, linux/vt.h).
const MAX_TERMINALS: u32 = 63;

/// Lines for liblxc. The error says what cannot be written there.
pub(super) fn lines(launch: &Launch, host: &Host) -> std::result::Result<String, String> {
    const FLAGS: &str = "rw,nosuid,nodev,noexec,relatime";
    let mut lines = vec![
        format!("lxc.init.cmd = {}", program(&launch.argv)?),
        format!("lxc.uts.name = {}", launch.hostname),
        // An empty directory makes them /dev/tty1 and so on, which securetty(5) lists; not /dev/lxc/tty1.
        "lxc.tty.dir =".to_owned(),
        format!("lxc.tty.max = {}", terminals(&launch.terminals)),
        // One that can be written to is taken for that of a machine of its own: from 258 on, systemd looks there which device the
        // kernel's console is, and its console-getty then wants the host's (systemd `resolve_dev_console`; M).
        "lxc.mount.auto = sys:mixed".to_owned(),
    ];
    if let Some(signal) = launch.power_off {
        lines.push(format!("lxc.signal.halt = {signal}"));
    }
    let mut mount = |source: &str, at: &str, kind: &str, options: &str| {
        let at = at.trim_start_matches('/');
        let fields = [source, at, kind, options].map(field).join(" ");
        lines.push(format!("lxc.mount.entry = {fields} 0 0"));
    };
    // By itself liblxc mounts no cgroups where there are namespaces of them, and leaves the choice to the init.
    if host.cgroups != CgroupLayout::None {
        if launch.can_use(CgroupVersion::V2) || host.cgroups == CgroupLayout::Unified {
            mount("cgroup2", "/sys/fs/cgroup", "cgroup2", FLAGS);
        } else {
            mount(
                "tmpfs",
                "/sys/fs/cgroup",
                "tmpfs",
                "rw,nosuid,nodev,noexec,mode=755",
            );
            let options = format!("{FLAGS},none,name=systemd,create=dir");
            mount("cgroup", "/sys/fs/cgroup/systemd", "cgroup", &options);
        }
    }
    for (at, mode) in [("/run", "755"), ("/dev/shm", "1777")] {
        let options = format!("rw,nosuid,nodev,mode={mode},create=dir");
        mount("tmpfs", at, "tmpfs", &options);
    }
    for tmpfs in &launch.tmpfs {
        let options = match tmpfs.options.as_str() {
            "" => "create=dir".to_owned(),
            some => format!("{some},create=dir"),
        };
        mount("tmpfs", &tmpfs.guest_path, "tmpfs", &options);
    }
    match lines.iter().find(|line| line.contains(['\n', '\r', '\0'])) {
        Some(line) => Err(format!("raw.lxc cannot hold a line break: {line:?}")),
        None => Ok(lines.join("\n")),
    }
}

/// Words are separated by blanks and may be put in quotes, which nothing escapes (liblxc, `lxc_string_split_quoted`).
fn program(argv: &[String]) -> std::result::Result<String, String> {
    let mut words = Vec::new();
    for (number, word) in argv.iter().enumerate() {
        let is_plain = !word.is_empty()
            && !word.contains(char::is_whitespace)
            && !word.starts_with(['"', '\'']);
        let quote = ['"', '\''].into_iter().find(|quote| !word.contains(*quote));
        match quote {
            _ if is_plain => words.push(word.clone()),
            // Quotes around the whole of a value are taken away before.
            Some(quote) if number > 0 && !word.is_empty() => {
                words.push(format!("{quote}{word}{quote}"));
            }
            _ => return Err(format!("lxc.init.cmd cannot hold the word {word:?}")),
        }
    }
    Ok(words.join(" "))
}

/// How many terminals there have to be for the tree's gettys.
fn terminals(names: &[String]) -> u32 {
    names
        .iter()
        .filter_map(|name| name.strip_prefix("tty")?.parse().ok())
        .filter(|number| *number <= MAX_TERMINALS)
        .fold(TERMINALS, u32::max)
}

/// A field of fstab(5).
fn field(text: &str) -> String {
    text.replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{host, launch};

    #[test]
    fn old_systemd_gets_the_named_hierarchy() {
        let old = Launch {
            cgroups: vec![CgroupVersion::V1Systemd],
            ..launch()
        };
        let raw = lines(&old, &host(CgroupLayout::Hybrid)).unwrap();
        assert!(raw.contains("none,name=systemd,create=dir"), "{raw}");
    }
}
