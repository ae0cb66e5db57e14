//! An App Container image, as rkt took them: `manifest` and `rootfs/` in one archive.
//!
//! # Source
//! App Container specification 0.8.11: aci.md ("Image Archives", "Image Manifest Schema"), types.md ("AC Identifier Type").

use super::bundle;
use super::{Export, config::bytes};
use crate::error::Result;
use crate::pack::PackReport;
use repot_model::Arch;
use serde_json::{Value, json};
use std::io::Write;

pub(super) fn write(what: &Export<'_>, out: impl Write) -> Result<PackReport> {
    let manifest = bytes(&manifest(what));
    bundle::write(what, &[("manifest", manifest)], "rootfs/", &[], out)
}

fn manifest(what: &Export<'_>) -> Value {
    let meta = what.meta;
    let (name, version) = meta.name.rsplit_once(':').unwrap_or((&meta.name, "latest"));
    let mut labels = vec![json!({ "name": "version", "value": version })];
    // Only pairs that the specification lists are allowed together ("Image Manifest Schema", labels os and arch).
    if let Some(arch) = architecture(meta.arch) {
        labels.push(json!({ "name": "os", "value": "linux" }));
        labels.push(json!({ "name": "arch", "value": arch }));
    }
    let variable = |(name, value): &(String, String)| json!({ "name": name, "value": value });
    let annotation =
        |(name, value): (&String, &String)| json!({ "name": identifier(name), "value": value });
    json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": identifier(name),
        "labels": labels,
        "app": {
            "exec": meta.argv,
            "user": "0",
            "group": "0",
            "workingDirectory": "/",
            "environment": meta.env.iter().map(variable).collect::<Vec<_>>(),
        },
        "annotations": meta.labels.iter().map(annotation).collect::<Vec<_>>(),
    })
}

/// Lower-case letters, digits and `-._~/`, neither first nor last of which is punctuation.
fn identifier(text: &str) -> String {
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || "._~/".contains(c) {
            c
        } else {
            '-'
        }
    };
    let text: String = text.chars().map(plain).collect();
    let text = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if text.is_empty() { "image" } else { text }.to_owned()
}

fn architecture(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::X86_64 => Some("amd64"),
        Arch::X86 => Some("i386"),
        Arch::Aarch64 => Some("aarch64"),
        Arch::Arm => Some("armv7l"),
        Arch::Ppc64 => Some("ppc64"),
        Arch::Ppc64le => Some("ppc64le"),
        Arch::S390x => Some("s390x"),
        Arch::Riscv64
        | Arch::Ppc
        | Arch::Mips
        | Arch::Mipsel
        | Arch::Mips64el
        | Arch::Loongarch64
        | Arch::Sparc64
        | Arch::M68k
        | Arch::Alpha
        | Arch::Hppa
        | Arch::Ia64
        | Arch::Sh4
        | Arch::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        for (name, identifier_) in [
            ("repot-debian", "repot-debian"),
            ("Docker.io/My Tree_2-", "docker.io/my-tree_2"),
            ("--", "image"),
        ] {
            assert_eq!(identifier(name), identifier_);
        }
    }
}
