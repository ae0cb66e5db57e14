//! What `docker save` writes and every Docker loads: `manifest.json`, a configuration, one layer. Docker reads OCI archives
//! only since 25.
//!
//! # Source
//! Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format"; moby `image/tarexport/load.go`.

use super::config::{bytes, config};
use super::outer::{Container, Digest, Outer};
use super::{Compression, Export, layer};
use crate::error::Result;
use crate::pack::{Holes, PackReport};
use serde_json::json;
use std::fs::File;

pub(super) fn write(what: &Export<'_>, out: &File) -> Result<PackReport> {
    let mut archive = Outer::new(out, what.meta.created);
    // Uncompressed: Docker stores it so, and `docker save` writes it so.
    let layer = archive.late_file(
        |out| layer::write(what, Compression::None, Holes::Filled, out),
        |layer| ("layer.tar".to_owned(), layer.size),
    )?;
    let config = config(what.meta, &layer.diff_id);
    let config_name = format!("{}.json", Digest::of(&config));
    archive.file(&config_name, &config)?;
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [what.meta.name],
        "Layers": ["layer.tar"],
    }]);
    archive.file("manifest.json", &bytes(&manifest))?;
    archive.finish()?;
    Ok(layer.report)
}
