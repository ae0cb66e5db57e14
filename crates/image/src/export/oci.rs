//! An OCI image layout with one image of one layer, as a directory or as a tar archive of it.
//!
//! # Source
//! OCI image specification 1.0: image-layout.md, manifest.md, layer.md. The reference name carries the whole name as well, in
//! containerd's annotation: `ctr images import` and `podman load` both look for it.

use super::config::{bytes, config, go_architecture};
use super::outer::{Container, Digest};
use super::{Compression, Export, layer};
use crate::error::Result;
use crate::pack::{Holes, PackReport};
use serde_json::json;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) fn write(what: &Export<'_>, mut archive: impl Container) -> Result<PackReport> {
    let meta = what.meta;
    // Neither bzip2 nor xz has a media type.
    let compression = match what.compression {
        Compression::Bzip2 | Compression::Xz => Compression::Gzip,
        it @ (Compression::None | Compression::Gzip | Compression::Zstd) => it,
    };
    archive.file(
        "oci-layout",
        &bytes(&json!({ "imageLayoutVersion": "1.0.0" })),
    )?;
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    let layer = archive.late_file(
        |out| layer::write(what, compression, Holes::Filled, out),
        |layer| (blob(&layer.digest), layer.size),
    )?;
    let config = config(meta, &layer.diff_id);
    let config_digest = Digest::of(&config);
    archive.file(&blob(&config_digest), &config)?;
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": CONFIG,
            "digest": format!("sha256:{config_digest}"),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": layer_type(compression),
            "digest": format!("sha256:{}", layer.digest),
            "size": layer.size,
        }],
    }));
    let manifest_digest = Digest::of(&manifest);
    archive.file(&blob(&manifest_digest), &manifest)?;
    let (architecture, variant) = go_architecture(meta.arch);
    let mut platform = json!({ "architecture": architecture, "os": "linux" });
    if let Some(variant) = variant {
        platform["variant"] = json!(variant);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": format!("sha256:{manifest_digest}"),
            "size": manifest.len(),
            "platform": platform,
            "annotations": {
                "io.containerd.image.name": meta.name,
                "org.opencontainers.image.ref.name": meta.name,
            },
        }],
    });
    archive.file("index.json", &bytes(&index))?;
    archive.finish()?;
    Ok(layer.report)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// Media types of layers (layer.md).
fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Bzip2 | Compression::Gzip | Compression::Xz => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}
