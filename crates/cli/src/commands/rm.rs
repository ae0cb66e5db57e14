//! `repot rm`: forgets a machine and what it wrote. The tree that it was made from stays.

use crate::args::Rm;
use anyhow::Context;
use repot_model::{HintExt, MachineName, Signal};
use repot_runtime::{Dirs, registry};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

pub(crate) fn run(args: &Rm) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    registry::collect_garbage(&dirs)?;
    let mut code = 0;
    for name in &args.names {
        if let Err(error) = one(&dirs, name, args.force) {
            code = crate::output::error(&error, false);
        }
    }
    Ok(code)
}

fn one(dirs: &Dirs, name: &MachineName, force: bool) -> anyhow::Result<()> {
    if registry::supervised(dirs, name).is_some() {
        if !force {
            return Err(repot_runtime::Error::AlreadyRunning(name.clone()))
                .hint(format!(
                    "`repot stop {name}` first, or `repot rm --force {name}`"
                ))
                .map_err(Into::into);
        }
        repot_runtime::stop::kill(dirs, name, Signal::KILL)?;
    }
    let dir = dirs.machine(name);
    if !dir.exists() {
        // An ephemeral machine is gone with its end.
        return if force {
            Ok(())
        } else {
            Err(repot_runtime::Error::NoSuchMachine(name.clone()))
                .hint("`repot list` shows what there is")
                .map_err(Into::into)
        };
    }
    let lock = registry::lock(dirs, name)?;
    if let Ok(Some(record)) = registry::record(dirs, name) {
        record
            .hand_over
            .iter()
            .for_each(repot_runtime::forget_in_engine);
    }
    // What had no record is gone with the lock.
    if dir.exists() {
        remove_dir(&dirs.machines(), OsStr::new(name.as_str()))?;
    }
    drop(lock);
    Ok(())
}

/// Removes a machine's directory. What a machine wrote there is hostile: nothing in it is followed.
pub(crate) fn remove_dir(parent: &Path, name: &OsStr) -> anyhow::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(parent, flags, Mode::empty())
        .with_context(|| format!("opening {}", parent.display()))?;
    repot_image::remove_tree(handle.as_fd(), name, parent)
        .with_context(|| format!("removing {}", parent.join(name).display()))
}
