//! What systemd-nspawn and machinectl take: an archive for `machinectl import-tar`, and the settings file that belongs into
//! `/etc/systemd/nspawn`.
//!
//! # Source
//! systemd.nspawn(5); machinectl(1), `import-tar`.

use super::{Export, ImageMeta, layer};
use crate::error::Result;
use crate::pack::{Holes, PackReport, write_error};
use repot_model::shell_word;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

pub(super) fn write(what: &Export<'_>, into: &Path) -> Result<PackReport> {
    let name = machine_name(what.meta);
    let settings = into.join(format!("{name}.nspawn"));
    std::fs::write(settings, self::settings(what.meta)).map_err(write_error)?;
    let archive = format!("{name}.tar{}", what.compression.suffix());
    let archive = File::create_new(into.join(archive)).map_err(write_error)?;
    let mut out = BufWriter::with_capacity(256 << 10, archive);
    Ok(layer::write(what, what.compression, Holes::Kept, &mut out)?.report)
}

/// A name for a machine has no colon (hostname(7)).
fn machine_name(meta: &ImageMeta) -> &str {
    let name = meta.name.rsplit('/').next().unwrap_or(&meta.name);
    name.split(':').next().unwrap_or(name)
}

fn settings(meta: &ImageMeta) -> String {
    let words: Vec<String> = meta.argv.iter().map(|word| shell_word(word)).collect();
    // Not Boot=yes: that looks for systemd first, and would start one that lies beside the tree's own init.
    let mut text = format!(
        "[Exec]\nBoot=no\nProcessTwo=no\nParameters={}\n",
        words.join(" ")
    );
    if let Some(signal) = meta.stop_signal {
        text.push_str(&format!("KillSignal={signal}\n"));
    }
    for (name, value) in &meta.env {
        text.push_str(&format!(
            "Environment={}\n",
            shell_word(&format!("{name}={value}"))
        ));
    }
    text
}
