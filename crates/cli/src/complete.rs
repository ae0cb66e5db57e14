//! Completion of names: machines, images, paths. Called by the shell through `COMPLETE=bash repot`.

use clap_complete::engine::CompletionCandidate;
use repot_runtime::{Dirs, registry};
use std::ffi::OsStr;

fn matching(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    names
        .filter(|name| name.starts_with(current))
        .map(CompletionCandidate::new)
        .collect()
}

/// Machines, running or not.
pub(crate) fn machines(current: &OsStr) -> Vec<CompletionCandidate> {
    matching(
        current,
        registry::names(&Dirs::from_env())
            .iter()
            .map(ToString::to_string),
    )
}

/// Machines that run.
pub(crate) fn running(current: &OsStr) -> Vec<CompletionCandidate> {
    let dirs = Dirs::from_env();
    matching(
        current,
        registry::names(&dirs)
            .iter()
            .filter(|name| registry::supervised(&dirs, name).is_some())
            .map(ToString::to_string),
    )
}

/// Images of the store.
pub(crate) fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let dirs = Dirs::from_env();
    if !dirs.data.join("images").is_dir() {
        return Vec::new();
    }
    let images = repot_image::Store::open(&dirs.data)
        .and_then(|store| store.list())
        .unwrap_or_default();
    matching(
        current,
        images
            .into_iter()
            .flatten()
            .map(|image| image.id().short().to_owned()),
    )
}

/// What can be booted: machines, images, files and directories.
pub(crate) fn sources(current: &OsStr) -> Vec<CompletionCandidate> {
    use clap_complete::engine::{PathCompleter, ValueCompleter};
    let mut candidates = machines(current);
    candidates.extend(images(current));
    candidates.extend(PathCompleter::any().complete(current));
    candidates
}
