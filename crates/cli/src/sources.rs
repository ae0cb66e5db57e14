//! SOURCE: from what the user typed to a directory with a tree, imported into the store if need be.

use crate::output;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use repot_image::{ImportOptions, Imported, Phase, Snapshot, SourceRef, Store};
use repot_model::{HintExt, MachineName, MachineRecord};
use repot_runtime::{Dirs, idmap, registry};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A tree on disk, and where it came from.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The directory.
    pub(crate) base: PathBuf,
    /// SOURCE as kept in a machine's record.
    pub(crate) source: String,
    /// What a machine of it is called by default.
    pub(crate) default_name: MachineName,
    /// The machine that SOURCE names, if it names one.
    pub(crate) machine: Option<MachineRecord>,
}

/// Finds the tree that SOURCE means. A path that exists comes first, then a machine, then an image of the store.
pub(crate) fn resolve(dirs: &Dirs, source: &str) -> anyhow::Result<Tree> {
    if source == "-" || Path::new(source).exists() {
        return from_path(dirs, source);
    }
    if let Ok(name) = MachineName::new(source)
        && let Some(record) = registry::record(dirs, &name)?
    {
        if !record.base.is_dir() {
            return Err(anyhow::anyhow!(
                "the tree of machine {name}, {}, is gone",
                record.base.display()
            ))
            .hint(format!("`repot rm {name}` forgets the machine"))
            .map_err(Into::into);
        }
        return Ok(Tree {
            base: record.base.clone(),
            source: record.source.clone(),
            default_name: name,
            machine: Some(record),
        });
    }
    let looks_like_image = source
        .strip_prefix("sha256:")
        .unwrap_or(source)
        .chars()
        .all(|c| c.is_ascii_hexdigit());
    if looks_like_image && dirs.data.join("images").is_dir() {
        let image = Store::open(&dirs.data)?.get(source)?;
        return Ok(Tree {
            base: image.rootfs(),
            source: format!("sha256:{}", image.id()),
            default_name: MachineName::from_file_name(&file_name(&image.record.source)),
            machine: None,
        });
    }
    Err(anyhow::anyhow!(
        "there is no file, directory, machine or image called {source:?}"
    ))
    .hint("`repot list` and `repot images` show what there is")
    .map_err(Into::into)
}

fn from_path(dirs: &Dirs, source: &str) -> anyhow::Result<Tree> {
    let parsed = SourceRef::parse(OsStr::new(source))?;
    match &parsed {
        SourceRef::Directory(path) => {
            let base = path
                .canonicalize()
                .with_context(|| format!("resolving {}", path.display()))?;
            if base == Path::new("/") {
                bail!(
                    "{source} is the host's own root: name the directory that holds a distribution's tree"
                );
            }
            warn_of_strangers(&base);
            let default_name = MachineName::from_file_name(&name_of(&base));
            Ok(Tree {
                source: base.display().to_string(),
                default_name,
                base,
                machine: None,
            })
        }
        SourceRef::Layout(_) | SourceRef::File(_) | SourceRef::Stdin => {
            let imported = import(dirs, &parsed)?;
            Ok(Tree {
                base: imported.image.rootfs(),
                source: format!("sha256:{}", imported.image.id()),
                default_name: MachineName::from_file_name(&file_name(source)),
                machine: None,
            })
        }
    }
}

/// In a user namespace, what belongs to an ID that is not mapped shows as the overflow user's (user_namespaces(7), "Unmapped user
/// and group IDs"), and nobody in it has privileges over it.
fn warn_of_strangers(base: &Path) {
    const OVERFLOW_UID: u32 = 65534;
    let owner = base.metadata().map(|found| found.uid());
    if !idmap::is_initial_namespace() && owner.is_ok_and(|uid| uid == OVERFLOW_UID) {
        let dir = base.display();
        output::note(format!(
            "repot: {dir} belongs to somebody whose IDs are not yours: its files show as nobody's, and what only root may read stays closed\n       \
             `sudo tar --numeric-owner --xattrs --acls -C {dir} -c . | repot import -` makes an image of it that is yours"
        ));
    }
}

fn file_name(source: &str) -> String {
    Path::new(source).file_name().map_or_else(
        || "machine".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// A name for a tree: its directory's, or, where that is only called `rootfs`, the one above.
fn name_of(base: &Path) -> String {
    let last = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    match last(base) {
        Some(name) if name == "rootfs" => base.parent().and_then(last).unwrap_or(name),
        Some(name) => name,
        None => "machine".into(),
    }
}

/// Imports a tarball, with a bar on a terminal.
pub(crate) fn import(dirs: &Dirs, source: &SourceRef) -> anyhow::Result<Imported> {
    let store = Store::open(&dirs.data)?;
    let bar = Bar::new(source);
    let imported = store
        .import(source, &ImportOptions::default(), &|now: &Snapshot| {
            bar.update(now)
        })
        .with_context(|| format!("importing {source}"));
    bar.0.finish_and_clear();
    let imported = imported?;
    for warning in imported.image.record.unpacked.warnings() {
        output::note(format!("repot: {warning}"));
    }
    Ok(imported)
}

/// A progress bar, invisible where standard error is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(source: &SourceRef) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length();
        bar.set_prefix(source.to_string());
        Self(bar)
    }

    fn update(&self, now: &Snapshot) {
        let what = match now.phase {
            Phase::Hashing => "hashing",
            Phase::Unpacking => "unpacking",
            Phase::Syncing => "writing to disk",
            Phase::Packing => "packing",
        };
        let template = if now.total_bytes.is_some() {
            "{msg} {prefix} [{bar:30}] {bytes}/{total_bytes} {eta}"
        } else {
            "{msg} {prefix} {spinner} {bytes}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_message(what);
        if let Some(total) = now.total_bytes {
            self.0.set_length(total);
        }
        self.0.set_position(now.read_bytes);
    }
}
