//! What is done in an engine before a machine's first start there, and taken back when it is forgotten.

use super::power_off_signal;
use crate::output;
use anyhow::Context;
use repot_engines::engine_name;
use repot_image::{Compression, Export, ImageMeta, Layer, Maker, export};
use repot_model::{Arch, BootSpec, Delivery, Facts, HandOver, ImageFormat, MachineRecord};
use repot_runtime::{Dirs, forget_in_engine, registry, run_command};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long loading an image or making a container may take.
const SETUP_TIME: Duration = Duration::from_secs(600);

/// Does what has to be done once before the first start, or again because it is planned in another way, and writes the record
/// (`is_kept`) once all of it is done. What a command that is killed meanwhile has made, the next one takes back.
pub(crate) fn set_up(
    dirs: &Dirs,
    record: &mut MachineRecord,
    spec: &mut BootSpec,
    facts: &Facts,
    is_kept: bool,
) -> anyhow::Result<()> {
    let Some(plan) = &spec.hand_over else {
        return Ok(());
    };
    if let Some(made) = &record.hand_over {
        if matches!(made.delivery, Delivery::Image { .. }) {
            // What the machine has written is in the engine, in the container that was made then.
            if !is_the_same(made, plan) {
                output::note(format!(
                    "repot: {} keeps the settings that it was made with in {}",
                    record.name, made.engine
                ));
            }
            spec.hand_over = Some(made.clone());
            return Ok(());
        }
        if made.files == plan.files && made.setup == plan.setup {
            if made != plan {
                record.hand_over = Some(plan.clone());
                keep(dirs, record, is_kept)?;
            }
            return write_files(plan);
        }
        forget_in_engine(made);
    }
    let plan = plan.clone();
    registry::begin_set_up(dirs, &record.name, &plan)?;
    // What there may be under this name all the same.
    forget_in_engine(&plan);
    if let Err(error) = carry_out(&plan, spec, facts) {
        forget_in_engine(&plan);
        registry::end_set_up(dirs, &record.name);
        return Err(error);
    }
    record.hand_over = Some(plan);
    if is_kept {
        keep(dirs, record, is_kept)?;
        registry::end_set_up(dirs, &record.name);
    }
    Ok(())
}

/// Whether two plans come to the same container, but for the terminal that its user sat at.
fn is_the_same(one: &HandOver, other: &HandOver) -> bool {
    let words = |plan: &HandOver| -> Vec<String> {
        let commands = plan.setup.iter().flat_map(|command| command.argv.clone());
        commands.filter(|word| !word.contains("TERM=")).collect()
    };
    words(one) == words(other) && one.files == other.files
}

fn keep(dirs: &Dirs, record: &MachineRecord, is_kept: bool) -> anyhow::Result<()> {
    if is_kept {
        registry::write_record(dirs, record)?;
    }
    Ok(())
}

fn carry_out(plan: &HandOver, spec: &BootSpec, facts: &Facts) -> anyhow::Result<()> {
    write_files(plan)?;
    let image = match &plan.delivery {
        Delivery::Image { format, file } => Some((*format, file)),
        Delivery::Overlay { .. } => None,
    };
    let result = image
        .map_or(Ok(()), |(format, file)| {
            write_image(format, file, spec, facts)
        })
        .and_then(|()| {
            plan.setup.iter().try_for_each(|command| {
                run_command(command, SETUP_TIME)
                    .map(drop)
                    .with_context(|| format!("preparing the machine in {}", plan.engine))
            })
        });
    if let Some((_, file)) = image {
        let _ = std::fs::remove_file(file);
        let _ = file
            .parent()
            .map(|dir| std::fs::remove_dir(dir.join("merged")));
    }
    result
}

fn write_files(plan: &HandOver) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    for file in &plan.files {
        let path = &file.path;
        let write = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut options = std::fs::File::options();
            let mut open = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(file.mode)
                .open(path)?;
            open.write_all(file.text.as_bytes())?;
            open.set_permissions(std::fs::Permissions::from_mode(file.mode))
        };
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The tree with its layers as an image.
fn write_image(
    format: ImageFormat,
    file: &Path,
    spec: &BootSpec,
    facts: &Facts,
) -> anyhow::Result<()> {
    let place = &spec.root.base;
    let top = open(place)?;
    let layers = spec
        .root
        .layers
        .iter()
        .map(|layer| open(layer))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let over: Vec<Layer<'_>> = layers
        .iter()
        .map(|top| Layer {
            root: top.as_fd(),
            made_by: Maker::Repot,
        })
        .collect();
    let parent = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let out = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(file)
        .with_context(|| format!("creating {}", file.display()))?;
    let what = Export {
        root: top.as_fd(),
        place,
        over: &over,
        meta: &meta(spec, facts),
        compression: Compression::None,
        progress: &repot_image::Silent,
    };
    export(format, &what, &out).with_context(|| format!("packing {}", place.display()))?;
    Ok(())
}

fn open(dir: &Path) -> anyhow::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .with_context(|| format!("opening {}", dir.display()))
}

fn meta(spec: &BootSpec, facts: &Facts) -> ImageMeta {
    ImageMeta {
        name: format!("{}:latest", engine_name(&spec.name)),
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        stop_signal: spec.needs.as_ref().and_then(power_off_signal),
        arch: facts.arch.unwrap_or_else(Arch::host),
        labels: BTreeMap::from([("repot.machine".to_owned(), spec.name.to_string())]),
        created: 0,
    }
}
