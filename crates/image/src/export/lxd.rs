//! LXD's and Incus' unified image: `metadata.yaml` and `rootfs/` in one archive.
//!
//! # Source
//! LXD documentation, "Image format"; lxd `images.go`, `getImageMetadata`: architecture and a creation date that is not 0.

use super::compression::Encoder;
use super::{Export, config::bytes};
use crate::archive::BLOCK;
use crate::error::Result;
use crate::pack::header::{Entry, encode};
use crate::pack::{END, PackReport, pack_members, write_error};
use repot_model::Arch;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};

pub(super) fn write(what: &Export<'_>, out: &File) -> Result<PackReport> {
    let meta = what.meta;
    // JSON is YAML (YAML 1.2, section 1.3).
    let metadata = bytes(&json!({
        "architecture": architecture(meta.arch),
        "creation_date": meta.created.max(1),
        "properties": meta.labels,
    }));
    let out = BufWriter::with_capacity(256 << 10, out);
    let mut out = Encoder::new(what.compression, out)?;
    let mut head = encode(&Entry {
        path: b"metadata.yaml",
        type_flag: b'0',
        mode: 0o644,
        mtime: (i64::try_from(meta.created).unwrap_or(0), 0),
        size: u64::try_from(metadata.len()).unwrap_or(u64::MAX),
        ..Entry::default()
    });
    head.extend_from_slice(&metadata);
    head.resize(head.len().next_multiple_of(BLOCK), 0);
    out.write_all(&head).map_err(write_error)?;
    let report = pack_members(what.root, what.place, b"rootfs/", None, &mut out)?;
    out.write_all(&END).map_err(write_error)?;
    out.finish()?.flush().map_err(write_error)?;
    Ok(report)
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
