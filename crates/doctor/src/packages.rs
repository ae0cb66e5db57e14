//! Versions from the package database, for programs that do not state their own.
//!
//! Text databases only: dpkg, apk, pacman, xbps, Portage. rpm's is a binary file that is not worth a parser here.

use crate::Result;
use crate::reading::{entries, optional};
use repot_rootfs::RootRead;

/// A package database as text. That of a desktop with 3,000 packages has 6 MB.
const DATABASE_BYTES: u64 = 32 << 20;

/// The version of the first of `names` that is installed.
pub(crate) fn version(root: &RootRead, names: &[&str]) -> Result<Option<String>> {
    if let Some(status) = optional(root.read("/var/lib/dpkg/status", DATABASE_BYTES))? {
        let status = String::from_utf8_lossy(&status);
        return Ok(names.iter().find_map(|name| dpkg(&status, name)));
    }
    if let Some(installed) = optional(root.read("/lib/apk/db/installed", DATABASE_BYTES))? {
        let installed = String::from_utf8_lossy(&installed);
        return Ok(names.iter().find_map(|name| apk(&installed, name)));
    }
    if let Some(plist) = optional(root.read("/var/db/xbps/pkgdb-0.38.plist", DATABASE_BYTES))? {
        let plist = String::from_utf8_lossy(&plist);
        return Ok(names.iter().find_map(|name| xbps(&plist, name)));
    }
    for dir in [
        "/var/lib/pacman/local",
        "/var/db/pkg/sys-apps",
        "/var/db/pkg/sys-process",
    ] {
        let found = entries(root, dir)?
            .iter()
            .find_map(|entry| names.iter().find_map(|name| from_dir(&entry.name, name)));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// deb-control(5) stanzas; only those that are installed count.
fn dpkg(status: &str, name: &str) -> Option<String> {
    let head = format!("Package: {name}\n");
    let at = if status.starts_with(&head) {
        0
    } else {
        status.find(&format!("\n{head}"))? + 1
    };
    let stanza = status.get(at..)?.split("\n\n").next()?;
    let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key));
    field("Status: ")?
        .ends_with(" installed")
        .then(|| field("Version: ").map(str::to_owned))?
}

fn apk(installed: &str, name: &str) -> Option<String> {
    let stanza = installed.split("\n\n").find(|stanza| {
        stanza
            .lines()
            .any(|line| line.strip_prefix("P:") == Some(name))
    })?;
    stanza
        .lines()
        .find_map(|line| line.strip_prefix("V:"))
        .map(str::to_owned)
}

fn xbps(plist: &str, name: &str) -> Option<String> {
    let head = format!("<string>{name}-");
    plist
        .match_indices(&head)
        .find_map(|(at, _)| versioned(plist.get(at + head.len()..)?.split('<').next()?))
}

/// `runit-2.1.2-r1` of pacman and Portage.
fn from_dir(entry: &str, name: &str) -> Option<String> {
    versioned(entry.strip_prefix(name)?.strip_prefix('-')?)
}

fn versioned(text: &str) -> Option<String> {
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases() {
        let status = "Package: init\nStatus: install ok installed\nVersion: 1\n\nPackage: runit\nStatus: deinstall ok config-files\nVersion: 2\n\nPackage: openrc\nStatus: install ok installed\nVersion: 0.45.2-2\n";
        assert_eq!(dpkg(status, "openrc").as_deref(), Some("0.45.2-2"));
        assert_eq!(dpkg(status, "init").as_deref(), Some("1"));
        assert_eq!(dpkg(status, "runit"), None);
        assert_eq!(dpkg(status, "open"), None);
        assert_eq!(
            apk("P:musl\nV:1.2\n\nP:openrc\nV:0.55-r1\n", "openrc").as_deref(),
            Some("0.55-r1")
        );
        assert_eq!(
            xbps(
                "<string>runit-void-2</string><string>runit-2.1.2_13</string>",
                "runit"
            )
            .as_deref(),
            Some("2.1.2_13")
        );
        assert_eq!(
            from_dir("openrc-0.54-r1", "openrc").as_deref(),
            Some("0.54-r1")
        );
        assert_eq!(from_dir("openrc-conf-1", "openrc"), None);
    }
}
