//! The configuration of a machine in LXC, line by line.

use super::{DROPPED, TERMINALS};
use crate::{CgroupLayout, Error, Host, Launch, Result};
use repot_model::{BindMount, CgroupVersion, EngineId, Limits, Network, TmpfsMount};
use std::fmt::{Display, Write};

/// Linux has no more virtual terminals (`MAX_NR_CONSOLES`, linux/vt.h).
const MAX_TERMINALS: u32 = 63;

/// Devices that may be opened, beside that any node may be made: the list of `/usr/share/lxc/config/common.conf`.
pub(super) const DEVICES: &[&str] = &[
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 10:229 rwm",
    "c 136:* rwm",
];

/// A configuration (lxc.container.conf(5)).
#[derive(Debug)]
pub(super) struct Config {
    lines: Vec<(&'static str, String)>,
    /// Why there is none.
    refused: Option<String>,
}

impl Config {
    /// Everything but the paths of the machine's.
    pub(super) fn of(launch: &Launch, host: &Host) -> Self {
        let dropped: Vec<String> = DROPPED.iter().map(|name| name.to_lowercase()).collect();
        let mut config = Self {
            lines: Vec::new(),
            refused: None,
        }
        .set("lxc.uts.name", &launch.hostname)
        .set("lxc.tty.dir", "")
        .set("lxc.tty.max", terminals(&launch.terminals))
        .set("lxc.pty.max", 1024)
        .set("lxc.cap.drop", dropped.join(" "))
        .set("lxc.mount.auto", "proc:mixed sys:mixed")
        .set(
            "lxc.net.0.type",
            match launch.network {
                Network::None => "empty",
                Network::Host => "none",
            },
        );
        config.program(&launch.argv);
        config.cgroups(launch, host);
        for (at, mode) in [("run", "755"), ("dev/shm", "1777")] {
            config.mount(
                "tmpfs",
                at,
                "tmpfs",
                &format!("rw,nosuid,nodev,mode={mode},create=dir"),
            );
        }
        if launch.network == Network::Host {
            // Left out where the host has none, and where the tree has a link there (M).
            let options = "bind,ro,optional,create=file";
            config.mount("/etc/resolv.conf", "etc/resolv.conf", "none", options);
        }
        for tmpfs in &launch.tmpfs {
            config.tmpfs(tmpfs);
        }
        for bind in &launch.binds {
            config.bind(bind);
        }
        if let Some(signal) = launch.power_off {
            config.push("lxc.signal.halt", signal.to_string());
        }
        if host.has_apparmor {
            // The profile that is there by default keeps systemd's sandboxed units from mounting.
            config.push("lxc.apparmor.profile", "generated");
            config.push("lxc.apparmor.allow_nesting", 1);
        }
        if let Some(path) = &launch.cgroup {
            // Where repot's limits are, and where repot cleans up: LXC itself leaves behind what is still busy when it ends.
            config.push("lxc.cgroup.dir.container", format!("{path}/payload"));
            config.push("lxc.cgroup.dir.monitor", format!("{path}/monitor"));
            config.push("lxc.cgroup.dir.monitor.pivot", format!("{path}/pivot"));
        }
        config.devices(host.cgroups);
        config.limits(&launch.limits, host.cgroups);
        for (name, value) in &launch.env {
            // Set by LXC itself, behind these.
            if name != "container" {
                config.push("lxc.environment", format!("{name}={value}"));
            }
        }
        config
    }

    fn push(&mut self, key: &'static str, value: impl Display) {
        self.lines.push((key, value.to_string()));
    }

    pub(super) fn set(mut self, key: &'static str, value: impl Display) -> Self {
        self.push(key, value);
        self
    }

    fn refuse(&mut self, why: String) {
        self.refused.get_or_insert(why);
    }

    /// Words are separated by blanks and may be put in quotes, which nothing escapes (`lxc_string_split_quoted`).
    fn program(&mut self, argv: &[String]) {
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
                _ => self.refuse(format!("lxc.init.cmd cannot hold the word {word:?}")),
            }
        }
        self.push("lxc.init.cmd", words.join(" "));
    }

    /// A view of the machine's own cgroups, whatever the host's layout is: they are mounted in the machine's cgroup namespace.
    /// By itself LXC mounts none where there are such namespaces, and leaves it to the init to choose.
    fn cgroups(&mut self, launch: &Launch, host: &Host) {
        const FLAGS: &str = "rw,nosuid,nodev,noexec,relatime";
        let at = "sys/fs/cgroup";
        if host.cgroups == CgroupLayout::None {
            return;
        }
        if launch.can_use(CgroupVersion::V2) || host.cgroups == CgroupLayout::Unified {
            self.mount("cgroup2", at, "cgroup2", FLAGS);
        } else {
            self.mount("tmpfs", at, "tmpfs", "rw,nosuid,nodev,noexec,mode=755");
            let options = format!("{FLAGS},none,name=systemd,create=dir");
            self.mount("cgroup", &format!("{at}/systemd"), "cgroup", &options);
        }
    }

    fn mount(&mut self, source: &str, at: &str, kind: &str, options: &str) {
        let at = at.trim_start_matches('/');
        let line = [source, at, kind, options].map(escaped).join(" ");
        self.push("lxc.mount.entry", format!("{line} 0 0"));
    }

    fn tmpfs(&mut self, tmpfs: &TmpfsMount) {
        let options = match tmpfs.options.as_str() {
            "" => "create=dir".to_owned(),
            some => format!("{some},create=dir"),
        };
        self.mount("tmpfs", &tmpfs.guest_path, "tmpfs", &options);
    }

    fn bind(&mut self, bind: &BindMount) {
        let source = bind.host_path.display().to_string();
        let kind = if bind.host_path.is_dir() {
            "dir"
        } else {
            "file"
        };
        let ro = if bind.read_only { ",ro" } else { "" };
        let options = format!("bind{ro},create={kind}");
        self.mount(&source, &bind.guest_path, "none", &options);
    }

    fn devices(&mut self, layout: CgroupLayout) {
        let (deny, allow) = match layout {
            CgroupLayout::None => return,
            CgroupLayout::Unified => ("lxc.cgroup2.devices.deny", "lxc.cgroup2.devices.allow"),
            CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                ("lxc.cgroup.devices.deny", "lxc.cgroup.devices.allow")
            }
        };
        self.push(deny, "a");
        for device in DEVICES {
            self.push(allow, device);
        }
    }

    /// The limits that were asked for, by the names that the host's controllers have (cgroup-v2.rst; cgroup-v1/*.rst), for those
    /// who start it by hand. The supervisor keeps all of them around this.
    fn limits(&mut self, limits: &Limits, layout: CgroupLayout) {
        const PERIOD_US: u64 = 100_000;
        let quota = limits
            .cpus_milli
            .map(|milli| u64::from(milli) * PERIOD_US / 1000);
        let pids = limits.pids.filter(|_| !limits.pids_is_default);
        match layout {
            CgroupLayout::None => {}
            CgroupLayout::Unified => {
                self.some("lxc.cgroup2.memory.max", limits.memory_bytes);
                self.some(
                    "lxc.cgroup2.cpu.max",
                    quota.map(|quota| format!("{quota} {PERIOD_US}")),
                );
                self.some("lxc.cgroup2.pids.max", pids);
            }
            CgroupLayout::Hybrid | CgroupLayout::Legacy => {
                self.some("lxc.cgroup.memory.limit_in_bytes", limits.memory_bytes);
                self.some("lxc.cgroup.cpu.cfs_period_us", quota.map(|_| PERIOD_US));
                self.some("lxc.cgroup.cpu.cfs_quota_us", quota);
                self.some("lxc.cgroup.pids.max", pids);
            }
        }
    }

    fn some(&mut self, key: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.push(key, value);
        }
    }

    /// The file. A line break in a value would begin another setting.
    pub(super) fn text(self) -> Result<String> {
        let bad = self
            .lines
            .iter()
            .find(|(_, value)| value.contains(['\n', '\r', '\0']))
            .map(|(key, value)| format!("{key} cannot hold a line break: {value:?}"));
        if let Some(why) = self.refused.or(bad) {
            return Err(Error::CannotHost {
                engine: EngineId("lxc".to_owned()),
                why,
            });
        }
        let mut text = "# Written by repot at each start.\n".to_owned();
        for (key, value) in &self.lines {
            let _ = writeln!(text, "{}", format!("{key} = {value}").trim_end());
        }
        Ok(text)
    }
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
fn escaped(field: &str) -> String {
    field
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
}
