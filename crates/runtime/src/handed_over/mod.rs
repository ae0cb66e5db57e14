//! A machine in another container system: its tree is put where the engine looks for it, the engine's own program runs in the
//! foreground on a pty that is the machine's console, and PID 1 is looked for among the host's processes. From there on the
//! machine is like any other.
//!
//! Nothing here knows an engine: all of that is in [`repot_model::HandOver`].

mod commands;
mod console;
mod leader;
mod program;
mod root;

pub(crate) use commands::end_by_force;
pub use commands::{CommandError, forget, run_command};
pub(crate) use leader::{
    ProbeCommand, free_console, has_reboot_capability, is_alone, nearest_leader, serves_console,
};

pub(crate) use root::{Delivered, remove_run_dir};

use crate::cgroup::MachineCgroups;
use crate::error::{Error, Result};
use crate::launch::Launched;
use crate::stdio::Stdio;
use console::OwnConsole;
use repot_model::{BootSpec, Delivery, HandOver};
use std::path::Path;

/// Where a tree is mounted, and a devpts, in the machine's run-time directory.
const ROOT: &str = "root";
const TERMINALS: &str = "devpts";

/// How a machine is started in an engine, again and again.
#[derive(Debug)]
pub(crate) struct HandedOver {
    pub(crate) plan: HandOver,
    /// Kept for as long as the supervisor lives, over reboots.
    delivered: Option<Delivered>,
    console: Option<OwnConsole>,
}

impl HandedOver {
    /// Puts the tree where the engine looks for it.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn prepare(plan: &HandOver, spec: &BootSpec, dir: &Path) -> Result<Self> {
        let delivered = match &plan.delivery {
            // Elsewhere, the removal of the run-time directory would not know of it.
            Delivery::Overlay { at } if *at != dir.join(ROOT) => {
                return Err(Error::Invalid {
                    what: format!("the place {} for the tree", at.display()),
                    why: format!("it must be {}", dir.join(ROOT).display()),
                });
            }
            Delivery::Overlay { at } => Some(Delivered::mount(&spec.root, at)?),
            Delivery::Image { .. } => None,
        };
        let console = match &plan.console {
            Some(file) => Some(OwnConsole::prepare(file, &dir.join(TERMINALS))?),
            None => None,
        };
        Ok(Self {
            plan: plan.clone(),
            delivered,
            console,
        })
    }

    /// Starts the engine's program, on a pty unless it is given files.
    ///
    /// # Errors
    /// There is no such program, or no pty.
    pub(crate) fn launch(
        &self,
        cgroups: &MachineCgroups,
        stdio: Option<&Stdio>,
    ) -> Result<Launched> {
        if let Some(delivered) = &self.delivered {
            delivered.make_writable();
        }
        let console = self.console.as_ref().map(OwnConsole::renew).transpose()?;
        let mut launched = program::start(&self.plan.start, cgroups, stdio)?;
        launched.terminals.splice(0..0, console);
        launched.warnings.extend_from_slice(&cgroups.warnings);
        Ok(launched)
    }
}
