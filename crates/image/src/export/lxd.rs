//! Images of LXD and Incus: `metadata.yaml`, `templates/` and `rootfs/`, in one archive or as two files.
//!
//! # Source
//! LXD documentation, "Image format"; lxd `images.go`, `getImageMetadata`: architecture and a creation date that is not 0.

use super::bundle::{self, Small};
use super::{Export, config::bytes};
use crate::beneath;
use crate::error::Result;
use crate::pack::PackReport;
use repot_model::Arch;
use rustix::fs::{AtFlags, FileType};
use serde_json::json;
use std::io::Write;

/// Whether containers of the image get their own name as host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Templates {
    Hostname,
    None,
}

pub(super) fn write(
    what: &Export<'_>,
    templates: Templates,
    out: impl Write,
) -> Result<PackReport> {
    bundle::write(what, &metadata(what, templates), "rootfs/", &[], out)
}

/// The archive of everything but the tree: the first file of a split image.
pub(super) fn write_metadata(what: &Export<'_>, templates: Templates) -> Result<Vec<u8>> {
    bundle::small(
        &metadata(what, templates),
        what.compression,
        what.meta.created,
    )
}

/// As the host's own tools name it (pongo2 syntax).
const HOSTNAME: &str = "{{ container.name }}\n";

fn metadata(what: &Export<'_>, templates: Templates) -> Vec<Small<'static>> {
    let meta = what.meta;
    // JSON is YAML (YAML 1.2, section 1.3).
    let mut metadata = json!({
        "architecture": architecture(meta.arch),
        "creation_date": meta.created.max(1),
        "properties": meta.labels,
    });
    let mut files = Vec::new();
    if templates == Templates::Hostname && has_hostname(what) {
        metadata["templates"] = json!({
            "/etc/hostname": { "when": ["create", "copy"], "template": "hostname.tpl" },
        });
        files.push(("templates/hostname.tpl", HOSTNAME.into()));
    }
    files.insert(0, ("metadata.yaml", bytes(&metadata)));
    files
}

/// Whether the tree keeps its name in `/etc/hostname`: where it does not, a file of that name would mean nothing.
fn has_hostname(what: &Export<'_>) -> bool {
    let Ok(etc) = beneath::open_dir(what.root, b"etc") else {
        return false;
    };
    let found = rustix::fs::statat(&etc, "hostname", AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// As LXD calls it (lxd `shared/osarch`).
fn architecture(arch: Arch) -> String {
    match arch {
        Arch::X86 => "i686".to_owned(),
        Arch::Arm => "armv7l".to_owned(),
        Arch::X86_64
        | Arch::Aarch64
        | Arch::Riscv64
        | Arch::Ppc64le
        | Arch::Ppc64
        | Arch::Ppc
        | Arch::S390x
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
        | Arch::Other(_) => arch.to_string(),
    }
}
