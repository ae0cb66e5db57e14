//! `repot import`: a tarball or an image into the store.

use crate::args::Import;
use crate::{output, sources};
use anyhow::bail;
use repot_image::SourceRef;
use repot_runtime::Dirs;
use serde::Serialize;
use std::ffi::OsStr;

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    id: String,
    new: bool,
    rootfs: String,
}

pub(crate) fn run(args: &Import) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let source = SourceRef::parse(OsStr::new(&args.source))?;
    if let SourceRef::Directory(path) = &source {
        bail!(
            "{} is a directory, which needs no import: `repot boot {}`",
            path.display(),
            path.display()
        );
    }
    let imported = sources::import(&dirs, &source)?;
    let id = imported.image.id();
    if args.json {
        let document = Document {
            version: output::JSON_VERSION,
            id: format!("sha256:{id}"),
            new: imported.is_new,
            rootfs: imported.image.rootfs().display().to_string(),
        };
        output::json(&document)?;
    } else {
        output::line(format!("sha256:{id}"));
    }
    Ok(0)
}
