//! `repot export`: a tree in a form that other container systems take, adapted to the one that will.

use crate::args::{CompressArg, Export as Args, FormArg, NetworkArg};
use crate::engines::Chosen;
use crate::handing::power_off_signal;
use crate::machines::{self, Purpose};
use crate::mending::{Mending, wishes};
use crate::sources::{self, Tree};
use crate::{adapt, output};
use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use repot_doctor::rules::Wishes;
use repot_engines::{Discovery, Host, Usable, image_argv, image_capabilities};
use repot_image::{
    Compression, Export, Format, ImageMeta, Layer, Maker, PackReport, Snapshot, export_at,
    export_stream,
};
use repot_model::{Arch, Edit, Facts, HintExt, Offers, RuleId, Signal};
use repot_rootfs::RootRead;
use repot_runtime::plan::{Payload, engine_env};
use repot_runtime::{Dirs, file_server, registry};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let is_stream = args.out.as_os_str() == "-";
    if is_stream && std::io::stdout().is_terminal() {
        bail!("standard output is a terminal: name a file, or pipe it somewhere");
    }
    let tree = sources::resolve(&dirs, &args.source)?;
    let (root, facts) = machines::inspect(&tree.base, Purpose::Boot)?;
    let form = Form::of(args, &facts)?;
    if is_stream && form.format.is_directory() {
        return Err(anyhow!("--to {} is a directory, not a stream", form.name))
            .hint("name one that does not exist yet")
            .map_err(Into::into);
    }
    let target = Target::of(args, &form)?;
    let wishes = wishes(&args.wishes)?;
    let Adapted { edits, stop_signal } = adapted(&root, &facts, target.as_ref(), wishes)?;
    let scratch = Scratch::new()?;
    let mut layers = Vec::new();
    if !edits.is_empty() {
        let layer = scratch.0.join("layer");
        repot_rootfs::layer::write(&root, &edits, &layer)
            .with_context(|| format!("writing {}", layer.display()))?;
        layers.push((open(&layer)?, Maker::Repot));
    }
    if let Some(upper) = written(&dirs, &tree)? {
        let made_by = match file_server::has_made(&upper) {
            true => Maker::FuseOverlayfs,
            false => Maker::Kernel,
        };
        layers.push((open(&upper)?, made_by));
    }
    let over: Vec<Layer<'_>> = layers
        .iter()
        .map(|(root, made_by)| Layer {
            root: root.as_fd(),
            made_by: *made_by,
        })
        .collect();
    let top = open(&tree.base)?;
    let mut meta = meta(args, &tree, &root, &facts, target.as_ref(), stop_signal)?;
    let start = form.start(&facts, target.as_ref(), &mut meta);
    let bar = bar(&args.source);
    let progress = |now: &Snapshot| bar.set_position(now.read_bytes);
    let what = Export {
        root: top.as_fd(),
        place: &tree.base,
        over: &over,
        meta: &meta,
        compression: form.compression,
        progress: &progress,
    };
    let written = if is_stream {
        let out = std::io::stdout().as_fd().try_clone_to_owned()?;
        export_stream(form.format, &what, &File::from(out), &scratch.0)
    } else {
        export_at(form.format, &what, &args.out)
    };
    bar.finish_and_clear();
    let report = written.with_context(|| format!("exporting {}", args.source));
    tell(&hinted(report)?, &edits, target.as_ref());
    if let Some(start) = start {
        output::note(format!("repot: to boot it: {start}"));
    }
    Ok(0)
}

/// How it is written.
struct Form {
    /// As the user typed it.
    name: String,
    format: Format,
    compression: Compression,
    /// The engine that takes it.
    engine: Option<&'static str>,
}

impl Form {
    fn of(args: &Args, facts: &Facts) -> anyhow::Result<Self> {
        use clap::ValueEnum;
        let starts_systemd = facts
            .init
            .as_ref()
            .is_some_and(|init| init.id.0 == "systemd");
        // Each with what it is compressed with by default, and whether that can be chosen.
        let (format, default, is_free, engine) = match args.to {
            FormArg::Dir => (Format::Directory, Compression::None, false, None),
            FormArg::Tar => (Format::Tar, Compression::None, true, None),
            FormArg::TarGz => (Format::Tar, Compression::Gzip, false, None),
            FormArg::TarXz => (Format::Tar, Compression::Xz, false, None),
            FormArg::TarZst => (Format::Tar, Compression::Zstd, false, None),
            FormArg::TarBz2 => (Format::Tar, Compression::Bzip2, false, None),
            FormArg::Squashfs => (Format::Squashfs, Compression::None, false, None),
            FormArg::Oci => (Format::OciLayout, Compression::Gzip, true, Some("podman")),
            FormArg::OciArchive => (Format::OciArchive, Compression::Gzip, true, Some("podman")),
            FormArg::DockerArchive => (
                Format::DockerArchive,
                Compression::None,
                false,
                Some("docker"),
            ),
            FormArg::Lxd => (Format::LxdUnified, Compression::Gzip, true, Some("lxd")),
            FormArg::LxdSplit => (Format::LxdSplit, Compression::Gzip, true, Some("lxd")),
            FormArg::LxdSquashfs => (Format::LxdSquashfs, Compression::Gzip, true, Some("lxd")),
            FormArg::Lxc => (Format::Lxc, Compression::Xz, false, Some("lxc")),
            FormArg::Nspawn => (Format::Nspawn, Compression::Gzip, true, Some("nspawn")),
            FormArg::Aci => (Format::Aci, Compression::Gzip, true, Some("rkt")),
            FormArg::Wsl => (
                Format::Wsl { starts_systemd },
                Compression::Gzip,
                true,
                Some("wsl"),
            ),
        };
        let name = args
            .to
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        let compression = match args.compress {
            None => default,
            Some(_) if !is_free => bail!("--to {name} leaves no choice of --compress"),
            Some(CompressArg::Bzip2 | CompressArg::Xz)
                if matches!(format, Format::OciLayout | Format::OciArchive) =>
            {
                bail!("layers of an OCI image are compressed with gzip or zstd, or not at all")
            }
            Some(CompressArg::None) => Compression::None,
            Some(CompressArg::Bzip2) => Compression::Bzip2,
            Some(CompressArg::Gzip) => Compression::Gzip,
            Some(CompressArg::Xz) => Compression::Xz,
            Some(CompressArg::Zstd) => Compression::Zstd,
        };
        Ok(Self {
            name,
            format,
            compression,
            engine,
        })
    }
}

impl Form {
    /// Has an image for Docker and its like start the init in a way that needs no repot, and tells how it is run.
    fn start(
        &self,
        facts: &Facts,
        target: Option<&Target>,
        meta: &mut ImageMeta,
    ) -> Option<String> {
        let client = match self.format {
            Format::DockerArchive => "docker",
            Format::OciArchive | Format::OciLayout => "podman",
            Format::Aci
            | Format::Directory
            | Format::Lxc
            | Format::LxdSplit
            | Format::LxdSquashfs
            | Format::LxdUnified
            | Format::Nspawn
            | Format::Squashfs
            | Format::Tar
            | Format::Wsl { .. } => return None,
        };
        target.filter(|target| target.is_adapted)?;
        let cgroups = repot_doctor::needs(facts)?.cgroups;
        meta.argv = image_argv(std::mem::take(&mut meta.argv), &cgroups);
        let options: String = image_capabilities(&cgroups, repot_doctor::claims_terminal(facts))
            .iter()
            .map(|name| format!(" --cap-add {name}"))
            .collect();
        Some(format!("{client} run -it{options} {}", meta.name))
    }
}

/// What it is adapted to.
struct Target {
    offers: Offers,
    is_adapted: bool,
}

impl Target {
    /// The engine on a host like most, since it will run on another one than this, and without repot.
    fn of(args: &Args, form: &Form) -> anyhow::Result<Option<Self>> {
        let Some(name) = args.engine.as_deref().or(form.engine) else {
            return Ok(None);
        };
        Ok(Some(Self {
            offers: offers(name, args.network)?,
            is_adapted: !args.no_adapt,
        }))
    }
}

/// What an engine gives on a host like most, in whatever version.
fn offers(engine: &str, network: NetworkArg) -> anyhow::Result<Offers> {
    let found = Discovery {
        version: None,
        state: Usable::Yes,
    };
    let offers = Chosen::named(engine)?.offers(&Host::typical(), &found, network);
    Ok(Offers {
        serves_silent_console: false,
        sys: offers.sys.without_repot(),
        ..offers
    })
}

/// What is laid over the tree.
#[derive(Debug, Default)]
struct Adapted {
    edits: Vec<Edit>,
    stop_signal: Option<Signal>,
}

fn adapted(
    root: &RootRead,
    facts: &Facts,
    target: Option<&Target>,
    wishes: Wishes,
) -> anyhow::Result<Adapted> {
    let needs = repot_doctor::needs(facts);
    let unchanged = Adapted {
        edits: Vec::new(),
        stop_signal: needs.as_ref().and_then(power_off_signal),
    };
    let Some(target) = target.filter(|target| target.is_adapted) else {
        // Only what was asked for, which is the same in every engine.
        let asked = [
            ("root-password", wishes.root_password_hash.is_some()),
            ("autologin", wishes.autologin),
        ];
        let only: Vec<RuleId> = asked
            .into_iter()
            .filter(|(_, is_asked)| *is_asked)
            .map(|(rule, _)| RuleId(rule.to_owned()))
            .collect();
        if only.is_empty() {
            return Ok(unchanged);
        }
        let mending = Mending {
            wishes,
            only,
            ..Mending::new(offers("native", NetworkArg::None)?)
        };
        return Ok(Adapted {
            edits: mending.edits(root, facts),
            ..unchanged
        });
    };
    let mut mending = Mending {
        wishes,
        ..Mending::new(target.offers.clone())
    };
    let looked = mending.look_again(root, facts);
    let (root, facts) = looked
        .as_ref()
        .map_or((root, facts), |looked| (&looked.root, &looked.facts));
    let Some(needs) = repot_doctor::needs(facts) else {
        output::note("repot: there is no init in it: nothing to adapt");
        return Ok(unchanged);
    };
    let payload = Payload::Init {
        needs: Box::new(needs),
        argv: None,
    };
    Ok(Adapted {
        edits: adapt::of_tree(root, facts, &payload, &mending),
        stop_signal: mending.diagnose(root, facts).0.stop_signal,
    })
}

/// What a machine has written, if SOURCE is one.
fn written(dirs: &Dirs, tree: &Tree) -> anyhow::Result<Option<PathBuf>> {
    let Some(record) = &tree.machine else {
        return Ok(None);
    };
    let name = &record.name;
    if registry::supervised(dirs, name).is_some() {
        output::note(format!(
            "repot: {name} is running: files that it writes meanwhile may be there in part"
        ));
    }
    if let Some(plan) = &record.hand_over
        && matches!(plan.delivery, repot_model::Delivery::Image { .. })
    {
        return Err(anyhow!(
            "what {name} has written is kept by {}, not by repot",
            plan.engine
        ))
        .hint(format!(
            "`repot export {}` writes the tree that it was made of",
            record.source
        ))
        .map_err(Into::into);
    }
    let upper = dirs.machine(name).join("writes/upper");
    Ok(upper.is_dir().then_some(upper))
}

fn open(dir: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .with_context(|| format!("opening {}", dir.display()))
}

fn meta(
    args: &Args,
    tree: &Tree,
    root: &RootRead,
    facts: &Facts,
    target: Option<&Target>,
    stop_signal: Option<Signal>,
) -> anyhow::Result<ImageMeta> {
    let needs = repot_doctor::needs(facts);
    let env = match (&needs, target) {
        // Not this caller's TERM: the same tree gives the same bytes.
        (Some(needs), Some(target)) => {
            let term = repot_doctor::known_term(root, "xterm");
            engine_env(needs, &target.offers, &term, &[])
        }
        _ => Vec::new(),
    };
    let distribution = &facts.distribution;
    let mut labels = BTreeMap::from([
        ("description".to_owned(), distribution.name.clone()),
        ("os".to_owned(), distribution.id.clone()),
    ]);
    if let Some(version) = &distribution.version {
        labels.insert("release".to_owned(), version.clone());
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => tree.default_name.as_str().to_lowercase(),
    };
    Ok(ImageMeta {
        name: match name.contains(':') {
            true => name,
            false => format!("{name}:latest"),
        },
        argv: needs.map_or_else(|| vec!["/bin/sh".to_owned()], |needs| needs.argv),
        env,
        stop_signal,
        arch: facts.arch.unwrap_or_else(Arch::host),
        labels,
        created: created(&tree.base)?,
    })
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org), or the time of the tree's own directory: neither depends on when this runs.
fn created(base: &Path) -> anyhow::Result<u64> {
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let text = text.to_string_lossy();
        return text
            .trim()
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={text}"));
    }
    let seconds = base.metadata().map_or(0, |found| found.mtime());
    Ok(u64::try_from(seconds).unwrap_or(0))
}

/// A directory of ours for as long as this takes.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("repot-export-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How much is written; nobody knows beforehand how much it will be. Invisible where standard error is no terminal.
fn bar(source: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(
        "packing {prefix} {spinner} {bytes} {binary_bytes_per_sec} {elapsed}",
    ) {
        bar.set_style(style);
    }
    bar.set_prefix(source.to_owned());
    bar
}

fn hinted(report: anyhow::Result<PackReport>) -> anyhow::Result<PackReport> {
    let hint = match report
        .as_ref()
        .err()
        .and_then(|error| error.downcast_ref::<repot_image::Error>())
    {
        Some(repot_image::Error::Program { .. }) => {
            "apt-get install squashfs-tools; other forms need no program"
        }
        Some(repot_image::Error::Exists { .. }) => {
            "name something new: only a file or an empty directory is replaced"
        }
        _ => return report,
    };
    report.hint(hint).map_err(Into::into)
}

/// What is not in it, and what is.
fn tell(report: &PackReport, edits: &[Edit], target: Option<&Target>) {
    for mount in &report.skipped_mounts {
        output::note(format!(
            "repot: something is mounted on {}: what is there was left out",
            mount.display()
        ));
    }
    if report.skipped_sockets > 0 {
        output::note(format!(
            "repot: {} sockets were left out, which no archive can hold",
            report.skipped_sockets
        ));
    }
    if report.changed > 0 {
        output::note(format!(
            "repot: {} files changed while they were read",
            report.changed
        ));
    }
    if let (Some(target), false) = (target, edits.is_empty()) {
        let engine = &target.offers.engine;
        output::note(format!(
            "repot: adapted to {engine} (--no-adapt leaves that out)"
        ));
        for edit in edits {
            output::note(format!("       {}: {}", edit.path, edit.why));
        }
    }
}
