//! Distributions from before os-release(5), and those that never had it.

use crate::Result;
use crate::reading::{evidence, text};
use repot_model::Distribution;
use repot_rootfs::RootRead;
use repot_rootfs::format::assignments;

/// How a release file is read.
enum Form {
    /// First line: words, then a version somewhere in it.
    Line,
    /// Only a version.
    Version,
    /// `DISTRIB_ID=`, `DISTRIB_RELEASE=`, `DISTRIB_DESCRIPTION=`.
    Lsb,
    /// The file being there says it all.
    Mark,
}

/// File, ID, name, form. The more particular ones come first: CentOS has `redhat-release` too, everything derived
/// from Debian has `debian_version`.
const FILES: &[(&str, &str, &str, Form)] = &[
    ("/etc/openwrt_release", "openwrt", "OpenWrt", Form::Lsb),
    ("/etc/NIXOS", "nixos", "NixOS", Form::Mark),
    (
        "/etc/alpine-release",
        "alpine",
        "Alpine Linux",
        Form::Version,
    ),
    (
        "/etc/slackware-version",
        "slackware",
        "Slackware",
        Form::Line,
    ),
    ("/etc/gentoo-release", "gentoo", "Gentoo", Form::Line),
    ("/etc/plamo-release", "plamo", "Plamo Linux", Form::Line),
    ("/etc/vine-release", "vine", "Vine Linux", Form::Line),
    (
        "/etc/turbolinux-release",
        "turbolinux",
        "Turbolinux",
        Form::Line,
    ),
    ("/etc/altlinux-release", "altlinux", "ALT Linux", Form::Line),
    ("/etc/mandriva-release", "mandriva", "Mandriva", Form::Line),
    ("/etc/mageia-release", "mageia", "Mageia", Form::Line),
    ("/etc/SuSE-release", "suse", "SUSE Linux", Form::Line),
    ("/etc/oracle-release", "ol", "Oracle Linux", Form::Line),
    ("/etc/centos-release", "centos", "CentOS", Form::Line),
    ("/etc/fedora-release", "fedora", "Fedora", Form::Line),
    ("/etc/redhat-release", "rhel", "Red Hat Linux", Form::Line),
    ("/etc/arch-release", "arch", "Arch Linux", Form::Mark),
    ("/etc/crux-release", "crux", "CRUX", Form::Line),
    ("/etc/lsb-release", "linux", "Linux", Form::Lsb),
    ("/etc/devuan_version", "devuan", "Devuan", Form::Version),
    (
        "/etc/debian_version",
        "debian",
        "Debian GNU/Linux",
        Form::Version,
    ),
    (
        "/var/guix/profiles/system",
        "guix",
        "Guix System",
        Form::Mark,
    ),
    ("/nix/var/nix/profiles/system", "nixos", "NixOS", Form::Mark),
    (
        "/etc/apk/repositories",
        "alpine",
        "Alpine Linux",
        Form::Mark,
    ),
];

/// Looks for the files in order.
pub(crate) fn detect(root: &RootRead) -> Result<Option<Distribution>> {
    for (path, id, name, form) in FILES {
        if !root.exists(path) {
            continue;
        }
        let content = text(root, path)?.unwrap_or_default();
        let line = content.lines().next().unwrap_or_default().trim();
        let mut found = Distribution {
            id: (*id).to_owned(),
            like: Vec::new(),
            version: None,
            name: (*name).to_owned(),
            evidence: vec![evidence(path, None, line)],
        };
        match form {
            Form::Mark => {}
            Form::Version => {
                found.version = Some(line.to_owned()).filter(|line| !line.is_empty());
                found.name = format!("{name} {line}").trim_end().to_owned();
            }
            Form::Line => {
                found.version = line
                    .split(|c: char| c.is_whitespace() || c == '(' || c == ')')
                    .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                    .map(str::to_owned);
                if !line.is_empty() {
                    found.name = line.to_owned();
                }
            }
            Form::Lsb => lsb(&content, &mut found),
        }
        return Ok(Some(found));
    }
    Ok(None)
}

fn lsb(content: &str, found: &mut Distribution) {
    let values = assignments::parse(content);
    let get = |key| assignments::get(&values, key).map(|assignment| assignment.value.clone());
    if let Some(id) = get("DISTRIB_ID") {
        found.id = id.to_ascii_lowercase().replace(' ', "-");
        found.name = id;
    }
    found.version = get("DISTRIB_RELEASE");
    if let Some(description) = get("DISTRIB_DESCRIPTION") {
        found.name = description;
    } else if let Some(version) = &found.version {
        found.name = format!("{} {version}", found.name);
    }
}
