//! `repot fix --install`: the tree's own package manager, run in a machine of the tree with the host's network.
//!
//! What it writes goes into the tree itself, and no journal knows of it.

use crate::packages::{self, Missing};
use crate::{emulation, machines, output};
use anyhow::{Context, anyhow, bail};
use machines::Purpose;
use repot_model::{HintExt, shell_word};
use std::path::Path;
use std::process::{Command, Stdio};

/// Variables by which programs find a proxy.
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Whether a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is done.
    Really,
    /// It is only said.
    SayOnly,
}

/// Installs an init, a login program and a getty, as far as they are missing. Says first what will run. Whether anything was
/// missing.
pub(crate) fn install(base: &Path, act: Act) -> anyhow::Result<bool> {
    let (root, facts) = machines::inspect(base, Purpose::Boot)?;
    let missing = packages::missing(&facts);
    if missing.is_empty() {
        output::note(
            "repot: nothing has to be installed: there are an init, a login program and a getty",
        );
        return Ok(false);
    }
    let what: Vec<&str> = missing.iter().copied().map(Missing::noun).collect();
    let what = what.join(", ");
    let Some(manager) = packages::manager(&root) else {
        let error = anyhow!(
            "{} has no {what}, and no package manager that could install it",
            base.display()
        );
        return match packages::builder(&root) {
            Some(command) => Err(error)
                .hint(format!(
                    "this system is built as a whole: `{command}` on it"
                ))
                .map_err(Into::into),
            None => Err(error),
        };
    };
    emulation::check(&root, &facts)?;
    let commands = manager.commands(&missing);
    let verb = match act {
        Act::Really => "run",
        Act::SayOnly => "would run",
    };
    output::note(format!(
        "repot: there is no {what}; these {verb} in a machine of the tree, with the host's network, and write into the tree itself (--undo does not take packages back):"
    ));
    for command in &commands {
        let words: Vec<String> = command.iter().map(|word| shell_word(word)).collect();
        output::note(format!("    {}", words.join(" ")));
    }
    if act == Act::SayOnly {
        return Ok(true);
    }
    for command in &commands {
        let mut run = Command::new("/proc/self/exe");
        run.arg("run").args(["--in-place", "--network", "host"]);
        // Nothing is laid over a tree that is written to, so the host's name servers are shown to it.
        if Path::new("/etc/resolv.conf").exists() {
            run.args(["--bind-ro", "/etc/resolv.conf"]);
        }
        for (name, value) in manager.env() {
            run.arg("--env").arg(format!("{name}={value}"));
        }
        for name in PROXIES {
            if std::env::var_os(name).is_some() {
                run.args(["--env", name]);
            }
        }
        run.arg(base).args(command);
        // Its talk is no result of ours.
        run.stdin(Stdio::null())
            .stdout(std::io::stderr())
            .stderr(Stdio::inherit());
        let status = run.status().context("starting a machine of the tree")?;
        if !status.success() {
            bail!("`{}` in the machine failed: {status}", command.join(" "));
        }
    }
    let (_root, facts) = machines::inspect(base, Purpose::Boot)?;
    if let Some(still) = packages::missing(&facts).first() {
        bail!(
            "the packages are installed, but no {} was found in them",
            still.noun()
        );
    }
    Ok(true)
}
