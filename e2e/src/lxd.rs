//! The LXD that is installed here, started for a test.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::instances::{Instances, Kind};

const KIND: Kind = Kind {
    script: r#"exec lxd --group root --logfile "$1/log""#,
    client: "lxc",
    admin: &["lxd"],
    dir: "LXD_DIR",
    conf: "LXD_CONF",
};

/// Starts it, with everything in `dir`, which must not exist.
///
/// # Errors
/// LXD is not installed, or does not come up.
pub fn start(dir: &Path) -> Result<Instances> {
    fs::create_dir(dir).context("making LXD's directory")?;
    Instances::start(&KIND, dir, Path::new("/"), None).context("starting LXD")
}
