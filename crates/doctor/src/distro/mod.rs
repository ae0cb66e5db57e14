//! Which distribution a tree is of: os-release(5) where there is one, else the files that older or unusual
//! distributions leave, else a guess from the package manager.

mod release_files;

use crate::Result;
use crate::reading::{evidence, text};
use repot_model::Distribution;
use repot_rootfs::RootRead;
use repot_rootfs::format::assignments;

/// What os-release(5) knows, wherever it is; `system` is the store directory of a NixOS or Guix System.
///
/// # Source
/// os-release(5): `/etc/os-release` before `/usr/lib/os-release`. NixOS and Guix System make `/etc` at boot.
pub(crate) fn detect(root: &RootRead, system: Option<&str>) -> Result<Distribution> {
    let mut places = vec![
        "/etc/os-release".to_owned(),
        "/usr/lib/os-release".to_owned(),
    ];
    places.extend(system.map(|system| format!("{system}/etc/os-release")));
    for path in places {
        if let Some(content) = text(root, &path)?
            && let Some(found) = from_os_release(&path, &content)
        {
            return Ok(found);
        }
    }
    if let Some(found) = release_files::detect(root)? {
        return Ok(found);
    }
    Ok(Distribution {
        id: "linux".to_owned(),
        like: Vec::new(),
        version: None,
        name: "unknown Linux distribution".to_owned(),
        evidence: Vec::new(),
    })
}

fn from_os_release(path: &str, content: &str) -> Option<Distribution> {
    let values = assignments::parse(content);
    let get =
        |key| assignments::get(&values, key).filter(|assignment| !assignment.value.is_empty());
    let text = |key| get(key).map(|assignment| assignment.value.clone());
    let first = get("ID")
        .or_else(|| get("NAME"))
        .or_else(|| get("PRETTY_NAME"))?;
    let id = text("ID").unwrap_or_else(|| "linux".to_owned());
    let version = text("VERSION_ID");
    let name = text("PRETTY_NAME").unwrap_or_else(|| {
        let name = text("NAME").unwrap_or_else(|| id.clone());
        match text("VERSION").or_else(|| version.clone()) {
            Some(version) => format!("{name} {version}"),
            None => name,
        }
    });
    Some(Distribution {
        like: text("ID_LIKE")
            .map(|like| like.split_ascii_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        evidence: vec![evidence(
            path,
            Some(first.line),
            &format!("{}={}", first.key, first.value),
        )],
        id: id.to_ascii_lowercase(),
        version,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release() {
        let content =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        let found = from_os_release("/etc/os-release", content).unwrap();
        assert_eq!(
            (found.id.as_str(), found.version.as_deref()),
            ("debian", Some("12"))
        );
        assert_eq!(found.evidence[0].line, Some(3));
        let found = from_os_release("/x", "NAME=Foo\nVERSION_ID=3\nID_LIKE='a b'").unwrap();
        assert_eq!((found.name.as_str(), found.like.len()), ("Foo 3", 2));
        assert!(from_os_release("/x", "").is_none());
        assert!(from_os_release("/x", "ID=\n").is_none());
    }
}
