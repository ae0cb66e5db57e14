//! `repot images`: what is in the store, and its removal.

use crate::args::Images;
use crate::output;
use anyhow::anyhow;
use repot_image::{Image, ImageConfig, Store};
use repot_model::HintExt;
use repot_runtime::{Dirs, registry};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    source: String,
    format: String,
    created_s: u64,
    rootfs: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<ImageConfig>,
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    images: Vec<Row>,
}

pub(crate) fn run(args: &Images) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let store = Store::open(&dirs.data)?;
    if !args.rm.is_empty() {
        for image in &args.rm {
            remove(&dirs, &store, image)?;
        }
        return Ok(0);
    }
    let mut images: Vec<Image> = Vec::new();
    for image in store.list()? {
        match image {
            Ok(image) => images.push(image),
            Err(error) => output::note(format!("repot: {error}")),
        }
    }
    if args.json {
        let rows = images.iter().map(|image| Row {
            id: format!("sha256:{}", image.id()),
            source: image.record.source.clone(),
            format: image.record.format.clone(),
            created_s: image.record.created_s,
            rootfs: image.rootfs().display().to_string(),
            config: image.record.config.clone(),
        });
        output::json(&Document {
            version: output::JSON_VERSION,
            images: rows.collect(),
        })?;
        return Ok(0);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut table = vec![
        ["IMAGE", "AGE", "FORMAT", "SOURCE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    table.extend(images.iter().map(|image| {
        let age = output::duration(now.saturating_sub(image.record.created_s));
        vec![
            image.id().short().to_owned(),
            age,
            image.record.format.clone(),
            image.record.source.clone(),
        ]
    }));
    output::table(&table);
    Ok(0)
}

/// Removes an image that no machine is made of.
fn remove(dirs: &Dirs, store: &Store, prefix: &str) -> anyhow::Result<()> {
    let image = store.get(prefix)?;
    let users: Vec<String> = registry::names(dirs)
        .into_iter()
        .filter(|name| {
            let of_record = registry::record(dirs, name)
                .ok()
                .flatten()
                .map(|record| record.base);
            let of_running = registry::running(dirs, name).map(|state| state.spec.root.base);
            [of_record, of_running]
                .into_iter()
                .flatten()
                .any(|base| base == image.rootfs())
        })
        .map(|name| name.to_string())
        .collect();
    if !users.is_empty() {
        return Err(anyhow!(
            "image {} is what {} is made of",
            image.id().short(),
            users.join(", ")
        ))
        .hint(format!("`repot rm {}` first", users.join(" ")))
        .map_err(Into::into);
    }
    Ok(store.remove(image.id())?)
}
